"""The shape of the code: imports point down, plugins see the public face alone, nothing unsafe is called."""

from __future__ import annotations

import ast
import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest

import zoo

ROOT = Path(__file__).resolve().parent.parent
LAYER = {
    "errors": 0,
    "catalog": 1,
    "records": 1,
    "data": 2,
    "models": 3,
    "scoring": 3,
    "transfer": 4,
    "comparison": 5,
    "verbs": 6,
    "reporting": 7,
    "testing": 7,
    "cli": 8,
}
LIGHT = ("errors", "catalog", "records")
FACE = {"zoo", "zoo.testing"}
SOURCES = sorted(p for top in ("zoo", "plugins", "examples") for p in (ROOT / top).rglob("*.py"))
OURS = [path for path in SOURCES if path.is_relative_to(ROOT / "zoo")]
PLUGINS = [p for p in SOURCES if not p.is_relative_to(ROOT / "zoo") and "tests" not in p.relative_to(ROOT).parts]


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def layer_of(module: str) -> str | None:
    """`catalog` for `zoo.catalog.spec`; None for other packages and for `zoo` itself."""
    parts = module.split(".")
    return parts[1] if parts[0] == "zoo" and len(parts) > 1 and parts[1] in LAYER else None


def imports(tree: ast.Module, *, top: bool = False) -> Iterator[tuple[str, int]]:
    """Every module that is imported, with its line; those under TYPE_CHECKING are no imports when the code runs."""
    for node in _running(tree, top):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None and node.level == 0:
            yield node.module, node.lineno
            if node.module == "zoo":
                yield from ((f"zoo.{alias.name}", node.lineno) for alias in node.names if alias.name in LAYER)


def _running(node: ast.AST, top: bool) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        if top and isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        yield child
        yield from _running(child, top)


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def test_every_folder_of_zoo_is_a_known_layer() -> None:
    folders = {path.relative_to(ROOT / "zoo").parts[0].removesuffix(".py") for path in OURS}
    assert folders - {"__init__", "__main__"} <= set(LAYER)


@pytest.mark.parametrize("path", OURS, ids=name_of)
def test_imports_point_down(path: Path) -> None:
    own = path.relative_to(ROOT / "zoo").parts[0].removesuffix(".py")
    if own in ("__init__", "__main__"):
        return
    for module, line in imports(parsed(path)):
        layer = layer_of(module)
        if layer is not None and layer != own:
            assert LAYER[layer] < LAYER[own] or {layer, own} <= set(LIGHT), (
                f"{name_of(path)}:{line}: {own} imports {module} of a layer that is not below it"
            )


@pytest.mark.parametrize("path", [p for p in OURS if p.relative_to(ROOT / "zoo").parts[0] in LIGHT], ids=name_of)
def test_what_exists_and_what_happened_import_no_torch(path: Path) -> None:
    heavy = {"torch", "torchvision", "transformers", "timm", "open_clip", "sklearn", "scipy"}
    found = {module.partition(".")[0] for module, _ in imports(parsed(path))}
    assert found & heavy == set()


@pytest.mark.parametrize("path", [p for p in OURS if p.relative_to(ROOT / "zoo").parts[0] == "data"], ids=name_of)
def test_data_imports_torch_inside_functions_only(path: Path) -> None:
    assert "torch" not in {module.partition(".")[0] for module, _ in imports(parsed(path), top=True)}


@pytest.mark.parametrize("path", PLUGINS, ids=name_of)
def test_a_plugin_imports_only_the_public_face(path: Path) -> None:
    for node in ast.walk(parsed(path)):
        modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            modules = [node.module]
            if node.module == "zoo":
                assert {alias.name for alias in node.names} <= {*zoo.__all__, "testing"}, f"line {node.lineno}"
        inner = {m for m in modules if m.partition(".")[0] == "zoo"} - FACE
        assert not inner, f"{name_of(path)}:{node.lineno} imports {', '.join(inner)}"


@pytest.mark.parametrize("name", sorted(zoo._EXPORTS))
def test_every_public_name_can_be_imported(name: str) -> None:
    value = getattr(importlib.import_module(zoo._EXPORTS[name]), name)
    assert getattr(zoo, name) is value
    assert name in zoo.__all__
    assert name in dir(zoo)


def test_type_checkers_see_every_public_name() -> None:
    tree = parsed(ROOT / "zoo" / "__init__.py")
    block = next(n for n in tree.body if isinstance(n, ast.If) and "TYPE_CHECKING" in ast.unparse(n.test))
    seen = {alias.name: node.module for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert seen == zoo._EXPORTS


def test_an_unknown_public_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'zoo' has no attribute 'resnet'"):
        _ = zoo.resnet


def test_every_public_function_and_class_says_what_it_is() -> None:
    kinds = (inspect.isclass, inspect.isfunction)
    said = [name for name in zoo._EXPORTS if any(kind(getattr(zoo, name)) for kind in kinds)]
    silent = [name for name in said if not (getattr(zoo, name).__doc__ or "").strip()]
    assert silent == []


def called(node: ast.Call) -> str:
    return ast.unparse(node.func)


def keyword(node: ast.Call, name: str) -> ast.expr | None:
    return next((each.value for each in node.keywords if each.arg == name), None)


def is_constant(node: ast.expr | None, value: object) -> bool:
    return isinstance(node, ast.Constant) and node.value is value


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_nothing_that_runs_code_from_a_file_is_called(path: Path) -> None:
    tree = parsed(path)
    banned = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
    for module, line in imports(tree):
        assert module.partition(".")[0] not in banned, f"{name_of(path)}:{line} imports {module}"
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        function, at = called(node), f"{name_of(path)}:{node.lineno}"
        if function == "torch.load":
            assert is_constant(keyword(node, "weights_only"), True), f"{at}: torch.load without weights_only=True"
        if function in ("yaml.load", "yaml.load_all"):
            loader = ast.unparse(keyword(node, "Loader") or ast.Constant(None))
            assert "Safe" in loader or _is_safe_loader(tree, loader), f"{at}: {function} with {loader}"
        assert function not in ("eval", "exec", "os.system", "yaml.unsafe_load", "yaml.full_load"), f"{at}: {function}"
        assert function not in ("torch.hub.load", "torch.hub.load_state_dict_from_url"), f"{at}: {function}"
        assert function not in ("load_state_dict_from_url", "weights.get_state_dict"), f"{at}: {function}"
        for unsafe, value in (("trust_remote_code", True), ("weights_only", False), ("shell", True)):
            assert not is_constant(keyword(node, unsafe), value), f"{at}: {unsafe}={value}"
        allowed = keyword(node, "allow_pickle")
        assert allowed is None or is_constant(allowed, False), f"{at}: allow_pickle"


def _is_safe_loader(tree: ast.Module, name: str) -> bool:
    """Whether the module itself derives this loader from a safe one."""
    classes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node.name == name]
    return any("Safe" in ast.unparse(base) for each in classes for base in each.bases)


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_a_file_has_at_most_400_lines(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_the_first_line_says_what_the_module_knows(path: Path) -> None:
    if path.read_text(encoding="utf-8").strip():
        assert ast.get_docstring(parsed(path))


def test_the_machine_and_its_tools_are_not_named_in_the_code() -> None:
    assert not [name_of(p) for p in SOURCES if "/root/" in p.read_text(encoding="utf-8")]

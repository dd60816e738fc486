"""Every command and block of code that the pages show is run, offline, in the order in which a reader would."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "cli"))

from program import Done, zoo  # noqa: E402  (the program, run inside this process)

from zoo.catalog.factories import import_factory  # noqa: E402
from zoo.testing import check_strategy  # noqa: E402
from zoo.transfer import baseline, probe  # noqa: E402

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
OF_AUTHORS = ROOT / "docs" / "plugins.md"
"""Its commands install a package: test_plugins_page.py runs them."""
INSTALLS = ("pip ", "venv", "git clone", "pytest")
DOWNLOADS = {"finetune torchvision/resnet18": "finetune starter/glyph-cnn"}
"""What the README fine-tunes needs a network; the same commands are tried with a backbone that needs none."""


def blocks(page: Path, *languages: str) -> list[str]:
    found = re.findall(r"^```(\w+)\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [text for language, text in found if language in languages]


def commands(page: Path) -> Iterator[str]:
    for block in blocks(page, "sh", "bash"):
        for line in block.splitlines():
            if not any(word in line for word in INSTALLS):
                yield line.partition("   #")[0].strip()


def carry_out(line: str, folder: Path) -> Done:
    """One line of a shell whose last command may be `zoo`: `A | zoo B`, `zoo A > file`, or anything without zoo."""
    before, found, command = line.rpartition("zoo ")
    if not found or not (before == "" or before.rstrip().endswith("|")):
        subprocess.run(["bash", "-euc", line], cwd=folder, check=True, timeout=60)
        return Done(0, "", "")
    stdin = ""
    if before:
        piped = ["bash", "-euc", before.rstrip().rstrip("|")]
        stdin = subprocess.run(piped, cwd=folder, check=True, timeout=60, capture_output=True, text=True).stdout
    command, _, target = command.partition(" > ")
    done = zoo(*shlex.split(command), stdin=stdin)
    if target:
        (folder / target.strip()).write_text(done.out, encoding="utf-8")
    return done


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a reader works, with some pictures."""
    from PIL import Image

    for label, colour in (("red", (200, 20, 20)), ("blue", (20, 20, 200))):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for number in range(12):
            picture = Image.new("RGB", (24, 24), tuple(part + number for part in colour))
            picture.save(tmp_path / "photos" / label / f"{number}.png")
    (tmp_path / "new-photos").mkdir()
    Image.new("RGB", (24, 24), (199, 30, 30)).save(tmp_path / "new-photos" / "a.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer few-shot sets beside random weights, fewer folds and penalties to choose by; no more is changed."""
    monkeypatch.setattr(baseline, "DRAWS", 2)
    monkeypatch.setattr(probe, "FOLDS", 2)
    monkeypatch.setitem(probe.solve.__kwdefaults__, "grid", probe.C_GRID[2:9:3])


@pytest.mark.parametrize(
    "page", [page for page in PAGES if list(commands(page)) and page != OF_AUTHORS], ids=lambda page: page.name
)
def test_the_commands_of_a_page_run(page: Path, folder: Path, quick: None) -> None:
    for line in commands(page):
        for download, offline in DOWNLOADS.items():
            line = line.replace(download, offline)
        done = carry_out(line, folder)
        assert done.code == 0, f"{line}\n{done.err}"


def test_the_first_command_of_the_readme_shows_a_gain_over_random_weights(folder: Path, quick: None) -> None:
    first = blocks(ROOT / "README.md", "sh")[0].strip()
    install, _, job = first.rpartition("&&")
    assert "pip install -e ." in install
    done = carry_out(job.strip(), folder)
    assert done.code == 0, done.err
    gains = [float(gain) for gain in re.findall(r"^transfer .*\(([+-][\d.]+)\)$", done.out, re.MULTILINE)]
    assert len(gains) == 2
    assert min(gains) > 0
    assert max(gains) > 0.05


@pytest.mark.parametrize("name", ["README.md", "docs/python.md", "docs/dense.md"])
def test_the_python_of_a_page_runs(name: str, folder: Path, quick: None) -> None:
    namespace: dict[str, object] = {"__name__": "page"}
    for number, block in enumerate(blocks(ROOT / name, "python")):
        exec(compile(block, f"{name}, block {number + 1}", "exec", dont_inherit=True), namespace)


def test_the_plugin_of_the_page_works(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package, adapter, use, tests, check, data, training, terms, scoring = blocks(OF_AUTHORS, "python")
    (folder / "zoo_mine").mkdir()
    (folder / "zoo_mine" / "__init__.py").write_text(package + "\n" + data.partition("def words")[0])
    (folder / "zoo_mine" / "adapter.py").write_text(adapter)
    (folder / "zoo_mine" / "data.py").write_text(data.replace("@hookimpl", ""))
    (folder / "zoo_mine" / "training.py").write_text(training)
    (folder / "zoo_mine" / "scoring.py").write_text(scoring)
    monkeypatch.syspath_prepend(str(folder))
    try:
        exec(compile(use + tests + check, "docs/plugins.md", "exec", dont_inherit=True), {})
        import zoo_mine  # type: ignore[import-not-found]

        import zoo as package_zoo

        catalog = package_zoo.Catalog.of({"mine": zoo_mine})
        dataset = package_zoo.read_dataset("mine:words", package_zoo.ReadOptions(val=0.5), catalog=catalog)
        assert dataset.task.classes == ("neg", "pos")
        import zoo_mine.scoring as scored  # type: ignore[import-not-found]
        import zoo_mine.training as offered  # type: ignore[import-not-found]

        of_training = package_zoo.Catalog.of({"mine": offered, "scored": scored})
        specs = {**of_training.heads, **of_training.strategies}
        made = {name: import_factory(spec.factory, name) for name, spec in specs.items()}
        assert made["cosine"](8, 8, 3, 0.0).directions.shape == (3, 8)
        rows = [package_zoo.StageRow("stem"), package_zoo.StageRow("top")]
        assert [len(phase.lr) for phase in made["top-then-all"]().phases(rows)] == [2, 3]
        guided: dict[str, Any] = {"__name__": "guided"}
        exec(compile(terms, "docs/plugins.md", "exec", dont_inherit=True), guided)
        found = check_strategy(guided["SmallFeatures"], on="starter/glyph-cnn")
        assert found.passed, str(found)
        (score,) = [import_factory(spec.factory, name) for name, spec in of_training.scorers.items()]
        assert score(np.array([[0.0], [0.0], [1.0], [1.0]]), np.array(["a", "a", "b", "b"])) == 1.0
    finally:
        for name in [name for name in sys.modules if name.split(".")[0] == "zoo_mine"]:
            del sys.modules[name]


def test_every_link_leads_somewhere() -> None:
    pages = [*PAGES, ROOT / "examples" / "zoo-mixer" / "README.md"]
    headings = {
        page: {
            re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", "-")
            for title in re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
        }
        for page in pages
    }
    for page in pages:
        for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
            if target.startswith("http"):
                continue
            path, _, heading = target.partition("#")
            there = (page.parent / path).resolve() if path else page
            assert there.exists(), f"{page.name} links to {target}"
            assert not heading or heading in headings[there], f"{page.name} links to {target}"


def test_pages_keep_to_their_width() -> None:
    for page in PAGES:
        for line in page.read_text(encoding="utf-8").splitlines():
            assert len(line) <= 150 or line.startswith("|"), f"{page.name}: {line}"


def test_what_each_strategy_scored_is_what_was_measured() -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "strategies.py"), "-", "-", "-", "--lines"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout.splitlines()
    page = (ROOT / "docs" / "strategies.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) > 15
    assert [line for line in lines if line not in page] == []

"""How the tokens of a text become its native vector: pooling, and what sentence encoders have after it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from zoo import UsageError, WeightsError
from zoo_transformers.families import How
from zoo_transformers.reading import read_json

_MODES: Mapping[str, How] = {
    "cls": "cls",
    "max": "max",
    "mean": "mean",
    "mean_sqrt_len_tokens": "mean-sqrt",
    "weightedmean": "weighted-mean",
    "lasttoken": "last",
}
_FLAGS: Mapping[str, How] = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean-sqrt",
    "pooling_mode_weightedmean_tokens": "weighted-mean",
    "pooling_mode_lasttoken": "last",
}
"""How it was written before modes had names; in the order in which they stand side by side."""

ACTIVATIONS = ("elu", "gelu", "identity", "leakyrelu", "mish", "relu", "sigmoid", "silu", "softplus", "tanh")
"""Of `torch.nn`, in lower case, with their default settings: all that a folder can say."""

_ORDER = ("Transformer", "Pooling", "Dense", "Normalize")
_ALONE = "remove modules.json from a copy of the folder to have the transformer alone"


@dataclass(frozen=True)
class Dense:
    """A linear layer after pooling, as some sentence encoders have."""

    inputs: int
    outputs: int
    bias: bool
    activation: str
    """One of `ACTIVATIONS`."""
    folder: str
    """Where its weights are, inside the model folder."""


@dataclass(frozen=True)
class Summary:
    """How tokens become the native vector."""

    how: tuple[How, ...]
    """More than one: side by side."""
    dense: tuple[Dense, ...] = ()
    normalise: bool = False
    """To length one."""
    counts_prompt: bool = True
    """False: the tokens of the prompt, and the start before it, are left out of the pooling."""
    truncate: int | None = None
    """Only so many of the numbers, as Matryoshka encoders allow; cut after everything else."""

    def width(self, hidden: int) -> int:
        """Of the vector, for tokens of width `hidden`."""
        whole = self.dense[-1].outputs if self.dense else hidden * len(self.how)
        return whole if self.truncate is None else min(whole, self.truncate)

    def to_json(self) -> dict[str, Any]:
        """Plain values; `from_json` reads them."""
        return {**asdict(self), "how": list(self.how), "dense": [asdict(each) for each in self.dense]}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Summary:
        """What `to_json` wrote."""
        dense = tuple(Dense(**each) for each in value["dense"])
        return cls(**{**value, "how": tuple(value["how"]), "dense": dense})


def summary_of(path: Path, own: How) -> Summary:
    """What the modules.json of a sentence encoder says.

    Args:
        path: its folder.
        own: how this type of model pools, where modules.json does not say.

    Raises:
        UsageError: a module after the pooling that zoo does not know, or in another order.
        WeightsError: a damaged file.
    """
    how: tuple[How, ...] = ()
    dense: list[Dense] = []
    normalise, counts_prompt = False, True
    modules = [
        (str(module["type"]).rpartition(".")[2], str(module.get("path", "")))
        for module in read_json(path / "modules.json")
    ]
    _check_order([kind for kind, _ in modules], path)
    for kind, folder in modules:
        config = module_config(path / folder) if kind != "Transformer" else {}
        _check_input(kind, config, path)
        if kind == "Pooling":
            how, counts_prompt = _pooling(config, path), bool(config.get("include_prompt", True))
        elif kind == "Dense":
            dense.append(_dense(config, folder, path))
        normalise = normalise or kind == "Normalize"
    truncate = settings_of(path).get("truncate_dim")
    return Summary(how or (own,), tuple(dense), normalise, counts_prompt, int(truncate) if truncate else None)


def check_first(path: Path) -> None:
    """Say why a sentence encoder without a config.json cannot be opened; nothing of any other folder.

    Raises:
        UsageError: it begins with something else than a transformer, or with one in a folder of its own.
    """
    modules = read_json(path / "modules.json") if (path / "modules.json").is_file() else None
    first = modules[0] if isinstance(modules, list) and modules else None
    if not isinstance(first, dict) or not str(first.get("type")).startswith("sentence_transformers."):
        return
    kind, folder = str(first["type"]).rpartition(".")[2], str(first.get("path", ""))
    if kind != "Transformer":
        raise UsageError(
            f"{path} is a sentence encoder that begins with {kind}",
            help="zoo opens those that begin with a transformer",
        )
    raise UsageError(
        f"{path} is a sentence encoder of an old layout, with its transformer in '{folder}'",
        help="write it anew with a current version: SentenceTransformer(folder).save(another)",
    )


def prompt_of(path: Path) -> str:
    """What sentence-transformers puts before every text that is encoded without naming a prompt.

    Raises:
        WeightsError: the name of a prompt that is not there.
    """
    settings = settings_of(path)
    name = settings.get("default_prompt_name")
    # Two that every model has, empty where it says nothing of them.
    prompts = {"query": "", "document": "", **(settings.get("prompts") or {})}
    if name is not None and name not in prompts:
        raise WeightsError(
            f"{path / _SETTINGS} takes the prompt '{name}' as its default, and has {', '.join(prompts)}",
            help="add it to `prompts`, or set default_prompt_name to null",
        )
    return str(prompts[name] or "") if name is not None else ""


def settings_of(path: Path) -> Mapping[str, Any]:
    """config_sentence_transformers.json, empty where there is none."""
    found = read_json(path / _SETTINGS) if (path / _SETTINGS).is_file() else {}
    return found if isinstance(found, dict) else {}


def module_config(folder: Path) -> Mapping[str, Any]:
    """The config.json of a module; a normalisation often has none."""
    file = folder / "config.json"
    return dict(read_json(file)) if folder.name.endswith(("Pooling", "Dense")) or file.is_file() else {}


_SETTINGS = "config_sentence_transformers.json"


def _check_order(kinds: Sequence[str], path: Path) -> None:
    for kind in kinds:
        if kind not in _ORDER:
            raise UsageError(f"{path} has a module {kind} after its transformer, which zoo does not know", help=_ALONE)
    if list(kinds) != sorted(kinds, key=_ORDER.index):
        raise UsageError(
            f"{path} has its modules in the order {', '.join(kinds)}, which zoo does not know", help=_ALONE
        )


def _check_input(kind: str, config: Mapping[str, Any], path: Path) -> None:
    for key in ("module_input_name", "module_output_name"):
        if (config.get(key) or "sentence_embedding") != "sentence_embedding":
            raise UsageError(
                f"the module {kind} of {path} works on {config[key]}, which zoo does not know", help=_ALONE
            )


def _pooling(config: Mapping[str, Any], path: Path) -> tuple[How, ...]:
    named = config.get("pooling_mode")
    if named is None:
        chosen = [key for key, on in config.items() if key.startswith("pooling_mode_") and on]
        unknown = [key for key in chosen if key not in _FLAGS]
        how = tuple(word for key, word in _FLAGS.items() if key in chosen)
    else:
        modes = [named] if isinstance(named, str) else list(named)
        unknown = [str(mode) for mode in modes if mode not in _MODES]
        how = tuple(_MODES[mode] for mode in modes if mode in _MODES)
    if unknown:
        raise UsageError(
            f"{path} pools by {', '.join(unknown)}, which zoo does not know", help=f"it knows {', '.join(_MODES)}"
        )
    return how or ("mean",)


def _dense(config: Mapping[str, Any], folder: str, path: Path) -> Dense:
    activation = str(config.get("activation_function", "torch.nn.modules.activation.Tanh")).rpartition(".")[2].lower()
    if activation not in ACTIVATIONS:
        raise UsageError(
            f"{path / folder} has the activation {activation}, which zoo does not know",
            help=f"it knows {', '.join(ACTIVATIONS)}",
        )
    if config.get("use_residual"):
        raise UsageError(f"{path / folder} adds its input to its output, which zoo does not know", help=_ALONE)
    if Path(folder).name != folder:
        raise WeightsError(f"{path / 'modules.json'} points at '{folder}', outside its folder")
    return Dense(
        int(config["in_features"]), int(config["out_features"]), bool(config.get("bias", True)), activation, folder
    )

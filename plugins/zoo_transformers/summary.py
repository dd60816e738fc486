"""How the tokens of a text become its native vector: pooling, and what sentence encoders have after it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from zoo import UsageError, WeightsError
from zoo_transformers.families import How
from zoo_transformers.reading import read_json

_MODES: Mapping[str, How] = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_lasttoken": "last",
}
_MODE_WORDS: Mapping[str, How] = {"cls": "cls", "max": "max", "mean": "mean", "lasttoken": "last"}


@dataclass(frozen=True)
class Dense:
    """A linear layer after pooling, as some sentence encoders have."""

    inputs: int
    outputs: int
    bias: bool
    activation: str
    """"tanh" or "identity"."""
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

    def width(self, hidden: int) -> int:
        """Of the vector, for tokens of width `hidden`."""
        return self.dense[-1].outputs if self.dense else hidden * len(self.how)

    def to_json(self) -> dict[str, Any]:
        """Plain values; `from_json` reads them."""
        return {"how": list(self.how), "dense": [asdict(each) for each in self.dense], "normalise": self.normalise}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Summary:
        """What `to_json` wrote."""
        return cls(tuple(value["how"]), tuple(Dense(**each) for each in value["dense"]), bool(value["normalise"]))


def summary_of(path: Path, own: How) -> Summary:
    """What the modules.json of a sentence encoder says.

    Args:
        path: its folder.
        own: how this type of model pools, where modules.json does not say.

    Raises:
        UsageError: a module after the pooling that zoo does not know.
        WeightsError: a damaged file.
    """
    how: tuple[How, ...] = ()
    dense: list[Dense] = []
    normalise = False
    for module in read_json(path / "modules.json"):
        kind, folder = str(module["type"]).rpartition(".")[2], str(module.get("path", ""))
        if kind == "Pooling":
            how = _pooling(read_json(path / folder / "config.json"), path)
        elif kind == "Dense":
            dense.append(_dense(read_json(path / folder / "config.json"), folder, path))
        elif kind == "Normalize":
            normalise = True
        elif kind != "Transformer":
            raise UsageError(
                f"{path} has a module {kind} after its transformer, which zoo does not know",
                help="remove modules.json from a copy of the folder to have the transformer alone",
            )
    return Summary(how or (own,), tuple(dense), normalise)


def _pooling(config: Mapping[str, Any], path: Path) -> tuple[How, ...]:
    if isinstance(config.get("pooling_mode"), str):
        modes = [config["pooling_mode"]]
        unknown = [mode for mode in modes if mode not in _MODE_WORDS]
        how = tuple(_MODE_WORDS[mode] for mode in modes if mode in _MODE_WORDS)
    else:
        chosen = [key for key, on in config.items() if key.startswith("pooling_mode_") and on]
        unknown = [key for key in chosen if key not in _MODES]
        # In the order in which sentence-transformers puts them side by side.
        how = tuple(word for key, word in _MODES.items() if key in chosen)
    if unknown or not how:
        raise UsageError(
            f"{path} pools by {', '.join(unknown) or 'nothing'}, which zoo does not know",
            help="it knows cls, mean, max and lasttoken",
        )
    return how


def _dense(config: Mapping[str, Any], folder: str, path: Path) -> Dense:
    activation = str(config.get("activation_function", "torch.nn.modules.activation.Tanh")).rpartition(".")[2].lower()
    if activation not in ("tanh", "identity"):
        raise UsageError(f"{path / folder} has the activation {activation}, which zoo does not know")
    if Path(folder).name != folder:
        raise WeightsError(f"{path / 'modules.json'} points at '{folder}', outside its folder")
    return Dense(
        int(config["in_features"]), int(config["out_features"]), bool(config.get("bias", True)), activation, folder
    )

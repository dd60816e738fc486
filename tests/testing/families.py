"""Every family of backbones of every plugin of zoo, small enough to be held against all laws on a CPU."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "plugins"), str(HERE.parents[1] / "examples" / "zoo-mixer")]

Maker = Callable[[Path], str]
"""Writes what is needed into a folder and gives the backbone's name."""


@dataclass(frozen=True)
class Family:
    """One family, and the backbone that stands for it."""

    plugin: str
    name: str
    make: Maker
    image_size: int | None = None
    slow: tuple[str, ...] = ()
    """Checks that take more than seconds: published networks cannot be made smaller."""
    heavy: bool = False
    """Whether one forward pass takes seconds, so that each check does."""

    @property
    def id(self) -> str:
        return f"{self.plugin} {self.name}"


def families() -> list[Family]:
    """All whose library is installed."""
    found = [*_listed(), *_torchvision(), *_timm(), *_transformers(), *_unified_io()]
    return [*found, *_open_clip()] if importlib.util.find_spec("open_clip") else found


def _named(name: str) -> Maker:
    return lambda folder: name


def _listed() -> Iterator[Family]:
    for name in ("glyph-cnn", "pixels", "lstm", "gru", "text-transformer", "bag-of-words"):
        yield Family("starter", name, _named(f"starter/{name}"))
    for name in ("rnn", "gru", "lstm", "bilstm"):
        yield Family("recurrent", name, _named(f"recurrent/{name}"), slow=("finetunes", "resumes") * (name == "bilstm"))


_TRAINED = ("finetunes", "resumes", "exports", "frozen-stays", "gradients", "replay")


def _torchvision() -> Iterator[Family]:
    from torchvision_cases import FAMILIES

    light = ("resnet", "squeezenet", "shufflenetv2", "mobilenetv2", "googlenet")
    for family, case in sorted(FAMILIES.items()):
        small = "mnasnet0_5" if family == "mnasnet" else case.name
        slow = ("finetunes", "resumes", "exports") if family in light else _TRAINED
        heavy = family in ("inception", "maxvit", "vgg", "vit")
        size = 128 if family == "inception" else case.size  # more is for its second classifier, which zoo leaves out
        yield Family("torchvision", family, _named(f"torchvision/{small}"), size, slow, heavy)


def _timm() -> Iterator[Family]:
    from tiny_timm import TINY, Tiny, write_folder

    def maker(tiny: Tiny) -> Maker:
        def make(folder: Path) -> str:
            write_folder(folder, tiny)
            return f"timm/{folder}"

        return make

    large = ("resnet pooled by attention", "vgg with dense layers after its pooling", "levit", "gated mlp")
    for name, tiny in TINY.items():
        yield Family("timm", name, maker(tiny), slow=_TRAINED if name in large else (), heavy=name == large[0])


def _transformers() -> Iterator[Family]:
    import tiny_transformers as tiny
    from tiny_audio import AUDIO, write_audio
    from tiny_idefics import write_idefics

    def text_or_image(family: str) -> Maker:
        def make(folder: Path) -> str:
            tiny.write_folder(folder, family)
            if family in tiny.IMAGE:
                told = {"size": {"height": 32, "width": 32}, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
                steps = {"do_resize": True, "do_normalize": True, "do_rescale": True}
                (folder / "preprocessor_config.json").write_text(json.dumps({**told, **steps}))
            return f"transformers/{folder}"

        return make

    def audio(case: str) -> Maker:
        return lambda folder: f"transformers/{write_audio(folder, case)}"

    def idefics(tower: str) -> Maker:
        return lambda folder: f"transformers/{write_idefics(folder)}{tower}"

    for family in (*tiny.TEXT, *tiny.IMAGE):
        yield Family("transformers", family, text_or_image(family))
    for case in AUDIO:
        yield Family("transformers", case, audio(case))
    for tower in ("", ":image", ":text"):
        yield Family("transformers", f"idefics (Flamingo){tower}", idefics(tower))


def _unified_io() -> Iterator[Family]:
    from tiny_unified_io import tiny_folder

    def maker(tower: str) -> Maker:
        return lambda folder: f"unified_io/{tiny_folder(folder)}{tower}"

    for tower in ("", ":image", ":text", ":audio"):
        yield Family("unified_io", f"unified-io-2{tower}", maker(tower))


def _open_clip() -> Iterator[Family]:
    from tiny_open_clip import KIN, TINY, write_folder

    def maker(kind: str) -> Maker:
        def make(folder: Path) -> str:
            write_folder(folder, kind)
            return f"open_clip/{folder}"

        return make

    for kind in (*TINY, *KIN):
        yield Family("open_clip", kind, maker(kind))

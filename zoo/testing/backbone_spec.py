"""What a specification promises, held against what its factory builds."""

from __future__ import annotations

import functools
import json
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from PIL import Image

from zoo.catalog.spec import AudioPreprocess, ImagePreprocess, TextPreprocess
from zoo.data.transforms import ImageProcessor
from zoo.testing.report import Inapplicable, few, law, require
from zoo.testing.subject import BackboneSubject

HEAVY = ("torch", "torchvision", "transformers", "timm", "open_clip", "tensorflow", "jax", "sklearn", "scipy", "pandas")
_KIND = {"image": ImagePreprocess, "text": TextPreprocess, "audio": AudioPreprocess}


@law(consequence="the head is built for another width, or trained on the source task's logits instead of features")
def dim(subject: BackboneSubject) -> str:
    """`Backbone.dim`, `BackboneSpec.dim` and the width of `Features.pooled` are one number."""
    width = subject.run(subject.batch(2)).pooled.shape[1]
    said = subject.backbone.dim
    require(said == width, f"pooled has {width} columns, the backbone says dim {said}")
    stated = subject.spec.dim
    if stated is not None and subject.spec.space is not None:
        stated *= len(subject.backbone.modalities)  # towers that share a space stand side by side
    require(stated in (None, width), f"pooled has {width} columns, the specification says {stated}")
    return f"D = {width}"


@law(consequence="`zoo list --max-params` and every cost shown are wrong; a source head may still hang on it")
def params(subject: BackboneSubject) -> str:
    """`BackboneSpec.params` is the number of parameters that are built."""
    count = sum(p.numel() for p in subject.original.parameters())
    if subject.spec.params is None:
        return f"{count:,}, not said before loading"
    require(subject.spec.params == count, f"{count:,} are built, the specification says {subject.spec.params:,}")
    return f"{count:,}"


@law(consequence="`zoo plan` shows stages that do not exist, and --unfreeze counts wrongly")
def stage_names(subject: BackboneSubject) -> str:
    """Stages have names of their own, none is "head", and they are those of the specification."""
    names = tuple(stage.name for stage in subject.backbone.stages())
    require(bool(names), "there is no stage")
    require(len(set(names)) == len(names), f"a name stands twice among {few(names, 12)}")
    require("head" not in names and all(names), f"a stage is named 'head' or '' among {few(names, 12)}")
    said = subject.spec.stages
    if said is not None and set(subject.backbone.modalities) < set(subject.spec.modalities):
        said = tuple(name for name in said if name in names)  # stages of towers that were not asked for are not built
    require(said in (None, names), f"built: {few(names, 12)}; the specification says {few(said or (), 12)}")
    return f"{len(names)}: {few(names)}"


@law(consequence="data are read for a modality that is then ignored, or are missing when the model runs")
def modalities(subject: BackboneSubject) -> str:
    """A backbone serves the modalities that were asked for, and its specification lists them."""
    served = subject.original.modalities
    require(bool(served), "it serves no modality")
    require(set(served) <= set(subject.spec.modalities), f"it serves {served}, the spec says {subject.spec.modalities}")
    if subject.selection is not None:
        asked = subject.selection.towers
        require(set(served) == set(asked), f"{' and '.join(asked)} asked for, {' and '.join(served)} served")
    return " and ".join(served)


@law(consequence="pictures reach the network in other colours or another size than its weights were trained on")
def preprocessing(subject: BackboneSubject) -> str:
    """What the processors make is what the preprocessing in the specification says."""
    stated = subject.spec.preprocess_for(subject.backbone.weights)
    said = []
    for modality in subject.backbone.modalities:
        value = stated.get(modality)
        require(value is not None, f"the specification names no preprocessing for {modality}")
        require(isinstance(value, _KIND[modality]), f"{modality} preprocessing is a {type(value).__name__}")
        if isinstance(value, ImagePreprocess):
            said.append(_pixels_as_stated(subject, value))
        elif isinstance(value, TextPreprocess):
            longest = max(_lengths(subject, ["zebra " * 3_000]))
            require(longest <= value.max_length, f"{longest} tokens of a long text, max_length is {value.max_length}")
            said.append(f"at most {value.max_length} tokens")
        elif isinstance(value, AudioPreprocess):
            said.append(f"{value.rate} Hz")
    return "; ".join(said)


def _pixels_as_stated(subject: BackboneSubject, stated: ImagePreprocess) -> str:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 70, 3), dtype=np.uint8))
    tensors = subject.finished("image", [image])
    if "pixels" not in tensors:
        return f"image tensors of its own: {few(sorted(tensors))}"
    reference = ImageProcessor(stated)
    wanted = reference.finish(reference.collate([reference(image)]))["pixels"]
    pixels = tensors["pixels"].flatten(0, -4)
    require(pixels.shape[-2:] == wanted.shape[-2:], f"{tuple(pixels.shape[-2:])} pixels, stated {stated.size}")
    off = float((pixels - wanted).abs().max())
    require(off < 0.05, f"normalised pixels are off by {off:.3g} from what the specification states")
    return f"{stated.size[0]} x {stated.size[1]} pixels, off by {off:.1g}"


def _lengths(subject: BackboneSubject, texts: list[str]) -> list[int]:
    processor = subject.processors["text"]
    return [processor.length(processor(text)) for text in texts]


@law(consequence="a run cannot be repeated, and seeds of a comparison differ in more than their seed")
def seeded(subject: BackboneSubject) -> str:
    """Random weights follow the global seed and nothing else."""
    if subject.selection is None or subject.selection.weights is not None:
        raise Inapplicable("it has no random weights")
    one, again, other = (subject.build(seed).state_dict() for seed in (3, 3, 4))
    if not one:
        raise Inapplicable("it has no parameters")
    differ = [name for name in one if not torch.equal(one[name], again[name])]
    require(not differ, f"the same seed gave other values in {few(differ)}")
    same = all(torch.equal(one[name], other[name]) for name in one)
    require(not same, "another seed gave the same values")
    return f"{len(one)} tensors repeat"


@law(consequence="whatever runs after it draws other numbers: seeds stop meaning anything")
def global_state(subject: BackboneSubject) -> str:
    """Building, preprocessing and running leave the global generators, default dtype and gradient mode alone."""

    def state() -> tuple[object, ...]:
        generator = torch.random.get_rng_state().numpy().tobytes()
        numpy = str(np.random.get_state())
        return generator, numpy, random.getstate(), torch.get_default_dtype(), torch.is_grad_enabled()

    named = ("torch's generator", "numpy's generator", "random's generator", "the default dtype", "the gradient mode")
    batch = subject.batch(3)
    doing: dict[str, Callable[[], object]] = {
        "preprocessing": lambda: subject.batch(3),
        "forward": lambda: subject.run(batch),
    }
    if subject.selection is not None:
        doing = {"building": subject.build, **doing}
    with _generators_kept():
        for what, act in doing.items():
            torch.rand(1)  # whoever seeds it anew always leaves the same state behind
            np.random.rand()
            random.random()
            before = state()
            act()
            moved = [name for name, old, new in zip(named, before, state(), strict=True) if old != new]
            require(not moved, f"{what} changed {few(moved)}")
    return f"{', '.join(doing)} left all of it as it was"


@contextmanager
def _generators_kept() -> Iterator[None]:
    """Afterwards every global generator is where it was."""
    numpy, python = np.random.get_state(), random.getstate()
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        np.random.set_state(numpy)
        random.setstate(python)


@law(consequence="`zoo list` and `zoo --help` take seconds instead of a tenth of one, for everybody who installs it")
def import_light(subject: BackboneSubject) -> str:
    """Importing the plugin imports no torch and no other large library, and prints nothing."""
    package = subject.spec.factory.partition(":")[0].partition(".")[0]
    if subject.selection is None or package == "zoo":
        raise Inapplicable("it comes from no plugin")
    heavy, printed, seconds = _imported(package)
    require(not heavy, f"`import {package}` imports {', '.join(heavy)}")
    require(not printed, f"`import {package}` prints {printed[:60]!r}")
    return f"`import {package}` in {seconds:.2f} s"


@functools.cache
def _imported(package: str) -> tuple[tuple[str, ...], str, float]:
    """Large libraries that importing a package brings in, what it prints, and how long it takes; in a new process."""
    program = (
        "import contextlib, io, json, sys, time\n"
        f"sys.path[:] = {sys.path!r}\n"
        "import zoo\n"
        "out, started = io.StringIO(), time.perf_counter()\n"
        "with contextlib.redirect_stdout(out):\n"
        f"    import {package}\n"
        "spent = time.perf_counter() - started\n"
        f"print(json.dumps([[n for n in {HEAVY!r} if n in sys.modules], out.getvalue(), spent]))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    require(done.returncode == 0, f"`import {package}` failed: {done.stderr.strip().splitlines()[-1:]}")
    heavy, printed, seconds = json.loads(done.stdout.splitlines()[-1])
    return tuple(heavy), str(printed), float(seconds)


SPEC_LAWS = (dim, params, stage_names, modalities, preprocessing, seeded, global_state, import_light)

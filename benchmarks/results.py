"""Makes RESULTS.md out of what the other scripts wrote to `results/*.json`, and of the remarks in `remarks.toml`.

    python benchmarks/results.py

It measures nothing. A job whose file is missing is named with the command that would make it. `remarks.toml` has a
table for each job, with a remark for a side, or for the whole job under the name `job`:

    [features-resnet50]
    zoo = "Missed: 92% of the time is in the convolutions, as py-spy has it."
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULTS, PAGE, REMARKS = HERE / "results", HERE / "RESULTS.md", HERE / "remarks.toml"
Found = Mapping[str, Any]


@dataclass(frozen=True)
class Job:
    """A row of the table of goals."""

    prefix: str
    """Of the names of its files."""
    title: str
    goal: str
    command: str
    cuda: bool = True
    """Whether it takes `--device cuda`."""


JOBS = (
    Job("startup", "Start: list backbones", "at most 0.5 of a bare Typer program", "startup.py", cuda=False),
    Job("images", "Photo JPEG to a normalised batch", "at most 0.5 of torchvision's DataLoader", "images.py"),
    Job("features-resnet18", "ResNet-18 features of a folder of JPEGs", "at most 0.63 of torchvision", "features.py"),
    Job("features-resnet50", "ResNet-50 features", "at most 0.85 of torchvision", "features.py"),
    Job("features-vit", "ViT-B/16 features", "0.9 of the bare forward, on a card", "features.py"),
    Job("features-clip", "CLIP ViT-B/32 image features", "at most 0.95 of open_clip", "features.py"),
    Job("features", "Features of images", "at most 0.63, 0.85 and 0.95", "features.py"),
    Job("texts", "MiniLM over texts with a long tail", "at most 0.85 of sentence-transformers", "texts.py"),
    Job("finetune-images", "Fine-tune ResNet-18 at 224 pixels", "at most 0.88 of a raw loop", "finetune_images.py"),
    Job("finetune-texts", "Fine-tune a BERT on a long tail", "at most 0.53 of Trainer", "finetune_texts.py"),
    Job("steps", "What the engine costs a step, on a tiny MLP", "at most 1.15 of a raw loop", "steps.py"),
    Job("frozen", "A head on a frozen encoder", "at most 0.4 in the first epoch, then 0.01", "frozen.py"),
    Job("cached-probe", "CIFAR-10: a probe of features that are kept", "in seconds", "cached_probe.py"),
    Job("logme", "LogME", "at most 0.36 of the published code", "logme.py PATH/TO/LogME.py", cuda=False),
)
APART = ("growth", "shards")
INTRODUCTION = """
Each row is zoo beside its peers from one run: every side a process of its own, in turn (A B A B), with as many threads;
before anything is timed the sides must agree. Ratios are medians of the ratios within a round, to the first side of
each table; below 1 is faster. Quote ratios, not seconds. This page is made by `python benchmarks/results.py` of the
files in [results](results), which the command above each table writes.
""".strip().splitlines()
GROWTH = """
CPU seconds and MiB of peak memory at 1, 10 and 100 times the size, each in a process of its own; of lists those of the
whole process. The exponent is the slope of log time over log size, 1 is linear; the second is over all three sizes,
where costs that do not grow weigh more. KiB each: what memory grows by for one more, from the smallest to the largest.
""".strip().splitlines()


def main() -> None:
    PAGE.write_text(text())
    print(f"wrote {PAGE.name}")


def text() -> str:
    """The page, of the files that are there."""
    found = {path.stem: json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))}
    remarks: dict[str, dict[str, str]] = tomllib.loads(REMARKS.read_text()) if REMARKS.is_file() else {}
    return "\n".join(page(found, remarks)).rstrip() + "\n"


def page(found: Mapping[str, Found], remarks: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    """The lines of the whole page."""
    measured = {name: each for name, each in found.items() if name not in APART}
    on_cpu = {name: each for name, each in measured.items() if not on_card(each)}
    yield from ("# Results", "")
    yield from (*INTRODUCTION, "")
    yield from machines(found.values())
    yield from (
        "## The goals",
        "",
        "| job | zoo | ratio | of CPU | goal | met |",
        "| --- | --- | --- | --- | --- | --- |",
    )
    for job in JOBS:
        yield from summary(job, of(job, on_cpu))
    yield ""
    for job in JOBS:
        for name, each in of(job, on_cpu).items():
            yield from section(name, each, job.title, remarks.get(name, {}))
    others = [name for name in on_cpu if not any(name in of(job, on_cpu) for job in JOBS)]
    for name in others:
        yield from section(name, on_cpu[name], name.replace("-", " ").capitalize(), remarks.get(name, {}))
    if "growth" in found:
        yield from growth(found["growth"], remarks.get("growth", {}))
    if "shards" in found:
        yield from shards(found["shards"], remarks.get("shards", {}))
    yield from gpu(measured, remarks)


def on_card(found: Found) -> bool:
    """Whether it was measured on a CUDA card."""
    return str(found.get("device", "cpu")).startswith("cuda")


def of(job: Job, found: Mapping[str, Found]) -> dict[str, Found]:
    """The files of a job: those of which no job has a longer prefix."""
    return {name: each for name, each in found.items() if job is job_of(name)}


def job_of(name: str) -> Job | None:
    """The job with the longest prefix of a name."""
    fit = [job for job in JOBS if name == job.prefix or name.startswith(f"{job.prefix}-")]
    return max(fit, key=lambda job: len(job.prefix), default=None)


def machines(found: Iterable[Found]) -> Iterator[str]:
    """Machines and versions, one line where all have the same."""
    seen: dict[str, list[str]] = {}
    for each in found:
        machine, versions = each["machine"], each["versions"]
        text = f"{machine['device']}, {machine['cores']} cores, Python {machine['python']}"
        text += "".join(f", {name} {version}" for name, version in versions.items())
        seen.setdefault(text, []).append(each["name"])
    for text, names in seen.items():
        yield f"- {text}" + ("" if len(seen) == 1 else f": {', '.join(names)}")
    yield ""


def summary(job: Job, found: Mapping[str, Found]) -> Iterator[str]:
    """Rows of the table of goals: each side that has one."""
    if not found:
        if job.prefix not in {"features", "features-vit"}:
            yield f"| {job.title} | | | | {job.goal} | not measured yet: `python benchmarks/{job.command}` |"
        return
    for name, each in found.items():
        more = "" if name == job.prefix else f" ({name.removeprefix(job.prefix + '-')})"
        for side in each["sides"]:
            if side["goal"] is not None:
                link = f"[{job.title}{more}](#{anchor(title_of(name, job.title))})"
                values = " | ".join(f"{side[key]:.3g}" for key in ("ratio", "cpu_ratio", "goal"))
                yield f"| {link} | {side['side']} | {values} | {met(side)} |"


def met(side: Mapping[str, Any]) -> str:
    """In a word."""
    if side["goal"] is None:
        return ""
    return "yes" if side["ratio"] <= side["goal"] else "**no**"


def title_of(name: str, title: str) -> str:
    job = job_of(name)
    rest = name.removeprefix(job.prefix).strip("-") if job else ""
    return f"{title} ({rest})" if rest else title


def anchor(title: str) -> str:
    """As GitHub makes it of a heading."""
    kept = "".join(letter for letter in title.lower() if letter.isalnum() or letter in "-_ ")
    return kept.replace(" ", "-")


def section(name: str, found: Found, title: str, remarks: Mapping[str, str]) -> Iterator[str]:
    """The table of one job."""
    yield from (f"## {title_of(name, title)}", "")
    threads = f"{found['threads']} thread" + ("s" if found["threads"] > 1 else "")
    yield f"`{found['command']}`, {threads}. {found['agreement']}".rstrip()
    yield ""
    yield f"| | {found['unit']} | CPU s | ratio | of CPU | goal | met | MiB |"
    yield "| --- | --- | --- | --- | --- | --- | --- | --- |"
    for side in found["sides"]:
        goal = "" if side["goal"] is None else f"{side['goal']:.3g}"
        peak = "" if side["peak_mib"] is None else f"{side['peak_mib']:,.0f}"
        yield (
            f"| {side['side']} | {side['wall']:.4g} | {side['cpu']:.4g} | {side['ratio']:.3g} "
            f"| {side['cpu_ratio']:.3g} | {goal} | {met(side)} | {peak} |"
        )
    yield ""
    for side, reason in found["missing"].items():
        yield f"- {side}: {reason}."
    for side, text in remarks.items():
        yield f"- {text}" if side == "job" else f"- *{side}*: {text}"
    if found["missing"] or remarks:
        yield ""


def growth(found: Found, remarks: Mapping[str, str]) -> Iterator[str]:
    """How cost grows."""
    yield from ("## How cost grows", "")
    yield from (f"`{found['command']}`, one thread.", *GROWTH)
    yield from ("", "![time and memory over size](results/growth.png)", "")
    yield "| | sizes | CPU s | exponent, 10x to 100x | all | MiB | KiB each |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    for row in found["rows"]:
        sizes, cpu, mib = (several(row[key], digits) for key, digits in (("sizes", 6), ("cpu", 3), ("mib", 3)))
        yield (
            f"| {row['job']}: {row['unit']} | {sizes} | {cpu} | {row['exponent']:.2f} | {row['exponent_overall']:.2f} "
            f"| {mib} | {row['kib_each']:.2g} |"
        )
    yield ""
    for job, text in remarks.items():
        yield f"- {text}" if job == "job" else f"- *{job}*: {text}"
    yield from (
        "",
        "What a billion images would take is worked out in [docs/performance.md](../docs/performance.md).",
        "",
    )


def several(values: Sequence[float], digits: int) -> str:
    """`100, 1,000, 10,000`, in so many digits."""
    return ", ".join(f"{each:,.0f}" if each >= 100 else f"{each:,.{digits}g}" for each in values)


def shards(found: Found, remarks: Mapping[str, str]) -> Iterator[str]:
    """Memory of a stream of shards."""
    yield from ("## Shards", "", f"`{found['command']}`, two decoding threads: one shard of as many photos.", "")
    yield "| rows | how | MB of data | peak above start, MiB | rows/s |"
    yield "| --- | --- | --- | --- | --- |"
    for row in found["rows"]:
        yield f"| {row['rows']:,.0f} | {row['how']} | {row['mb']:,.0f} | {row['peak_mib']:,.0f} | {row['speed']:.0f} |"
    yield ""
    for text in remarks.values():
        yield from (f"- {text}", "")


def gpu(found: Mapping[str, Found], remarks: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    """What was run on which card, and what was not."""
    yield from ("## GPU", "")
    cards = {name: each for name, each in found.items() if on_card(each)}
    scripts = dict.fromkeys(job.command for job in JOBS if job.cuda)
    yield "| script | run on |"
    yield "| --- | --- |"
    for script in scripts:
        on = {each["machine"]["device"] for each in cards.values() if script in each["command"]}
        said = ", ".join(sorted(on)) or "not run: no CUDA card was at hand"
        yield f"| `python benchmarks/{script} --device cuda` | {said} |"
    yield ""
    for name, each in cards.items():
        job = job_of(name.removesuffix("-cuda"))
        title = f"{job.title if job else name} on {each['machine']['device']}"
        yield from section(name.removesuffix("-cuda"), each, title, remarks.get(name, {}))


if __name__ == "__main__":
    main()

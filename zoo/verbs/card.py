"""The model card of a finished run: what it is, where it comes from, how good it is, how to use it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.transfer.metrics import shown

if TYPE_CHECKING:
    from zoo.verbs.run import Run

SHOWN_CLASSES = 50


def model_card(run: Run, model: Mapping[str, Any], training: Mapping[str, Any]) -> str:
    """Markdown under the YAML header that model hubs read.

    Args:
        run: the finished run.
        model: its `model/config.json`.
        training: every training option as resolved.
    """
    data = Path(run.plan.data).name
    names = " + ".join(Path(part["spec"]["architecture"]).name for part in model["parts"])
    sections = [
        f"---\n{_header(run, model['parts'], data)}\n---",
        f"# {_text(names)}, fine-tuned on {_text(data)}",
        _table(("", ""), [*_what(run, data), *(row for part in model["parts"] for row in _source(part))]),
        f"## Results on {run.split}, {run.plan.rows[run.split]:,} rows",
        *_results(run),
        "## Training",
        _recipe(run, training),
        "\n".join(f"- {_text(note)}" for note in run.plan.notes),
        "## Use",
        *_use(run),
    ]
    return "\n\n".join(sections) + "\n"


def _use(run: Run) -> list[str]:
    if run.task.kind == "pairs":
        command, call = f"zoo zero-shot {run.path} DATA", f"found = zoo.zero_shot({str(run.path)!r}, data)"
    else:
        command, call = f"zoo predict {run.path} INPUT", f"predictions = list(zoo.predict({str(run.path)!r}, inputs))"
    return [f"```sh\n{command}\n```", f"```python\nimport zoo\n\n{call}\n```"]


def _header(run: Run, parts: Sequence[Mapping[str, Any]], data: str) -> str:
    from huggingface_hub import EvalResult, ModelCardData

    modalities = sorted({each for part in parts for each in part["towers"]})
    what = {"regression": "regression", "segmentation": "segmentation"}.get(run.task.kind, "classification")
    # As model hubs name them.
    named = {
        "tokens": "token-classification",
        "detection": "object-detection",
        "pairs": "zero-shot-image-classification",
    }
    kind = named.get(run.task.kind, f"{modalities[0]}-{what}")
    weights = [part["weights"] for part in parts if part["weights"] is not None]
    bases = [each["origin"].split(":")[1] for each in weights if each["origin"].startswith("hub:")]
    licences = {each.get("licence") for each in weights}
    card = ModelCardData(
        model_name=run.path.name,
        library_name="zoo",
        base_model=bases or None,
        license=str(licences.pop()).lower() if len(licences) == 1 and None not in licences else None,
        pipeline_tag=kind if len(modalities) == 1 and run.task.kind != "regression" else None,
        tags=[*modalities, run.task.kind, run.strategy],
        eval_results=[
            EvalResult(kind, data, data, name, value, dataset_split=run.split)
            for name in shown(run.task)
            if (value := run.metrics.get(name)) is not None
        ]
        or None,
    )
    return card.to_yaml()


def _what(run: Run, data: str) -> list[tuple[str, str]]:
    names = ", ".join(run.task.classes[:SHOWN_CLASSES])
    more = ", ..." if len(run.task.classes) > SHOWN_CLASSES else ""
    facts = [("task", run.task.kind), ("data", f"{data}: {', '.join(f'{n:,} {s}' for s, n in run.plan.rows.items())}")]
    if run.task.classes:
        facts.append(("classes", f"{len(run.task.classes)}: {names}{more}"))
    elif run.task.targets:
        facts.append(("targets", ", ".join(run.task.targets)))
    sizes = run.plan.estimate
    return [*facts, ("strategy", run.strategy), ("parameters", f"{sizes.params:,}, {sizes.trained:,} of them trained")]


def _source(part: Mapping[str, Any]) -> list[tuple[str, str]]:
    weights = part["weights"]
    if weights is None:
        return [("backbone", f"{part['name']}, from random weights")]
    pinned = weights.get("revision") or weights.get("sha256")
    origin = weights["origin"] + (f" ({pinned})" if pinned else "")
    return [
        ("backbone", part["name"]),
        ("weights", origin),
        ("licence of the weights", weights.get("licence") or "unknown"),
        ("trained on", weights.get("trained_on") or "unknown"),
    ]


def _recipe(run: Run, training: Mapping[str, Any]) -> str:
    if not run.plan.estimate.steps:
        head = "A linear head" if training["head"] == "linear" else f"The head {training['head']}"
        return f"{head}, solved on frozen features."
    given = {name: value for name, value in training.items() if value is not None and value != ()}
    return f"{run.plan.estimate.steps:,} steps: {', '.join(f'{name} {value}' for name, value in given.items())}."


def _results(run: Run) -> list[str]:
    rows = []
    for name, value in run.metrics.items():
        low, high = run.intervals.get(name, (None, None))
        interval = "" if low is None else f"{low:.4f} to {high:.4f}"
        rows.append((name, "does not exist" if value is None else f"{value:.4f}", interval))
    found = [_table(("metric", "value", "95 % interval"), rows)]
    if run.leaked:
        found.insert(0, "**LEAK: rows of this split were also trained on; no figure here can be trusted.**")
    pair = (run.baseline or {}).get("probe")
    if run.baseline and pair:
        found.append(
            f"A linear probe on the same rows has {run.baseline['metric']} {pair['pretrained']:.4f} with these weights "
            f"and {pair['random']:.4f} with random ones."
        )
    return [*found, *_against(run.against)]


def _against(against: Mapping[str, Any] | None) -> list[str]:
    """The run beside its source, a frozen probe and training from scratch."""
    if against is None:
        return []
    metric, rows = against["metric"], []
    apart = {each["from"]: each for each in against["differences"]}
    for side in against["sides"]:
        value, gain = side["metrics"][metric], apart.get(side["title"])
        shown_gain = f"{gain['value']:+.4f} ({gain['low']:+.4f} to {gain['high']:+.4f})" if gain else ""
        rows.append((side["title"], "does not exist" if value is None else f"{value:.4f}", shown_gain))
    found = [_table(("", metric, "fine-tuned less this, 95 % interval"), rows)]
    return [*found, *(f"{_text(note[:1].upper() + note[1:])}." for note in against["notes"])]


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(_cell(each) for each in line) + " |" for line in lines)


def _cell(text: str) -> str:
    return _text(text).replace("|", "\\|")


def _text(text: str) -> str:
    """What the data or a path holds, without tags and line breaks."""
    return " ".join(text.split()).replace("<", "&lt;")

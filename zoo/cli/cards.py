"""The card of one backbone: put together from the catalogue, printed from there or from its index."""

from __future__ import annotations

from zoo.cli.plain import fact, human_count, print_text

TYPE_CHECKING = False  # as in `plain`
if TYPE_CHECKING:
    from typing import Any


def card(selection: Any, found: Any) -> dict[str, Any]:
    """The stable keys of `--json`."""
    from zoo.catalog.cached import is_cached
    from zoo.catalog.serial import weights_to_json
    from zoo.catalog.structure import inner_of, is_structured

    spec, weights = selection.spec, selection.weights
    plugin = found.catalog.owners_of(spec)
    report = next((r for r in found.reports if r.name == plugin), None)
    from dataclasses import asdict

    whole = inner_of(spec) if is_structured(spec) else None
    return {
        "name": selection.name,
        "source": spec.source,
        "architecture": spec.architecture,
        "family": spec.family,
        "modalities": list(spec.modalities),
        "params": spec.params,
        "dim": spec.dim,
        "image_size": spec.image_size,
        "context_length": spec.context_length,
        "stages": list(spec.stages) if spec.stages is not None else None,
        "whole": {"name": whole.name, "params": whole.params, "stages": whole.stages} if whole else None,
        "space": spec.space,
        "paper": spec.paper,
        "weights": weights_to_json(weights) if weights else None,
        "cached": is_cached(weights) if weights else True,
        "all_weights": [each.tag for each in spec.weights],
        "preprocess": {m: asdict(value) for m, value in spec.preprocess_for(weights).items()},
        "plugin": plugin,
        "distribution": f"{report.distribution} {report.version}" if report else None,
    }


def show(card: dict[str, Any]) -> None:
    """A card as text."""
    weights = card["weights"] or {}
    stages = card["stages"]
    lines = [
        ("backbone", card["name"]),
        ("takes", " and ".join(card["modalities"]) + _sizes(card)),
        ("gives", f"{card['dim'] or 'an unknown number of'} features"),
        ("size", _size(card)),
        ("stages", f"{len(stages)}{_of_whole(card)}: {', '.join(stages)}" if stages else "known once loaded"),
        ("weights", f"{weights['origin']}{' (cached)' if card['cached'] else ''}" if weights else "random"),
        ("pinned", weights.get("revision") or weights.get("sha256") or "no"),
        ("licence", weights.get("licence") or "unknown"),
        ("trained on", weights.get("trained_on") or "unknown"),
        ("published", ", ".join(f"{k} {v:g}" for k, v in (weights.get("metrics") or {}).items()) or "nothing"),
        ("others", _others(card)),
        ("paper", card["paper"]),
        ("plugin", f"{card['plugin']} ({card['distribution']})" if card["plugin"] else "resolved by name"),
    ]
    for modality, value in card["preprocess"].items():
        said = [f"{name} {_plain(each)}" for name, each in value.items() if each not in (None, "")]
        lines.append((f"{modality} in", ", ".join(said)))
    for title, text in lines:
        if text:
            print_text(fact(title, text, indent=12))


def _size(card: dict[str, Any]) -> str:
    whole = card["whole"]
    if card["params"] is None and whole is not None:
        return f"fewer than the {human_count(whole['params'])} parameters of {whole['name']}"
    return f"{human_count(card['params'])} parameters"


def _of_whole(card: dict[str, Any]) -> str:
    whole = card["whole"]
    return f" of {len(whole['stages'])}" if whole and whole["stages"] else ""


def _others(card: dict[str, Any]) -> str:
    used = (card["weights"] or {}).get("tag")
    tags = [tag for tag in card["all_weights"] if tag != used]
    return ", ".join(tags[:12]) + (f" and {len(tags) - 12} more" if len(tags) > 12 else "")


def _plain(value: Any) -> str:
    if not isinstance(value, list | tuple):
        return f"'{value}'" if isinstance(value, str) and value != value.strip() else str(value)
    return (" x " if all(isinstance(each, int) for each in value) else "/").join(f"{each:.3g}" for each in value)


def _sizes(card: dict[str, Any]) -> str:
    parts = [f"{card['image_size']} px"] if card["image_size"] else []
    parts += [f"{card['context_length']} tokens"] if card["context_length"] else []
    return f" ({', '.join(parts)})" if parts else ""

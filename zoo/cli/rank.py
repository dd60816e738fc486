"""`zoo rank`: which backbones are worth fine-tuning on new data."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zoo.cli import console, options
from zoo.cli.jobs import AtOnce, DryRun, Executor, Only, check_one, show_done, show_jobs, words_of
from zoo.cli.parsing import Grouped, given
from zoo.errors import UsageError

if TYPE_CHECKING:
    from zoo.verbs.layers import Layer, Profile
    from zoo.verbs.rank import Field
    from zoo.verbs.ranking import Ranked, Ranking

_PATH = re.compile(r"/+(?:[^/@+]+/){2,}([^/@+]+/[^/@+]+)")
"""A path of more than three parts."""
_choice = options.under("Candidates")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "rank",
        help="Rank backbones on new data before any is fine-tuned.\n\n"
        "For example  zoo rank photos/ torchvision/resnet18 'timm/*mobilenet*'",
        cls=Grouped,
    )(rank)


def rank(
    context: typer.Context,
    data: options.Data[str],
    backbones: Annotated[
        list[str] | None, typer.Argument(help="Names, a+b, or globs; all on this machine that take the data if none.")
    ] = None,
    modality: Annotated[str | None, _choice("Of globs and the catalogue: image, text, audio, or image+text.")] = None,
    family: Annotated[str | None, _choice("Such as resnet, vit, bert.")] = None,
    source: Annotated[str | None, _choice("Such as timm.")] = None,
    licence: Annotated[str | None, _choice("Part of it, as in apache.", "--licence", "--license")] = None,
    min_params: Annotated[str | None, _choice("At least so many parameters, as in 5M.")] = None,
    max_params: Annotated[str | None, _choice("At most so many parameters, as in 50M.")] = None,
    max_ms: Annotated[float | None, _choice("At most so many milliseconds a row, on this machine.")] = None,
    everything: Annotated[bool, _choice("Weights that would be fetched too.", "--all")] = False,
    scorers: Annotated[str | None, typer.Option(help="knn, linear, ... or all; see `zoo list scorers`.")] = None,
    finetune: Annotated[int, typer.Option(help="Fine-tune so many of the best, shortly.")] = 0,
    budget: Annotated[str, typer.Option(help="Time for --finetune, as in 90s or 5m.")] = "5m",
    layers: Annotated[bool, typer.Option("--layers", help="Score every stage of the candidates instead.")] = False,
    csv: Annotated[Path | None, options.of_output("Write the table into a file too.")] = None,
    pooling: options.Pooling = None,
    seed: options.Seed[int] = 0,
    device: options.Device[str] = "auto",
    image_col: options.ImageCol = None,
    text_col: options.TextCols = None,
    audio_col: options.AudioCol = None,
    label_col: options.LabelCols = None,
    task: options.PlainTask = None,
    limit: Annotated[int, options.of_data("Look at most at N training rows.")] = 2_000,
    val: options.Val[float] = 0.2,
    skip_bad: options.SkipBad = False,
    jobs: AtOnce = None,
    executor: Executor = "local",
    dry_run: DryRun = False,
    only: Only = None,
    offline: options.Offline = False,
    json: options.Json = False,
) -> None:
    """Parse, call the verb, render."""
    from zoo.cli.progress import RunView
    from zoo.cli.rows import count
    from zoo.verbs.candidates import Filters
    from zoo.verbs.config import RunConfig, merge
    from zoo.verbs.executors import check_executor
    from zoo.verbs.layers import rank_layers
    from zoo.verbs.rank import check_names, check_numbers, extract_one, field_of, ranked
    from zoo.verbs.ranking import Ranking

    check_one(only, dry_run, csv)
    if layers:
        _check_layers(finetune, pooling, jobs=dry_run or only is not None or jobs is not None or executor != "local")
    if csv is not None and not csv.absolute().parent.is_dir():
        raise UsageError(f"there is no folder {csv.parent}", help="give --csv a file in a folder that is there")
    read = merge(
        RunConfig(),
        {
            "read": given(
                image=image_col, text=text_col, audio=audio_col, label=label_col, task=task, val=val,
                skip_bad=skip_bad, seed=seed,
            )
        },
    ).read  # fmt: skip
    filters = Filters(
        modality, family, source, licence, count(min_params), count(max_params), max_ms, cached=not everything
    )
    scores = None if scorers is None else tuple(part.strip() for part in scorers.split(",") if part.strip())
    check_numbers(limit, finetune, budget, filters)
    check_names("cpu" if dry_run else device, pooling)  # a card may be where the jobs are done
    check_executor(executor, jobs)
    found: Ranking | Profile
    with RunView(quiet=False) as view:
        if layers:
            found = rank_layers(
                data, backbones or (), filters=filters, scorers=scores, limit=limit, device=device, seed=seed,
                read=read, offline=offline, watch=view,
            )  # fmt: skip
        else:
            field = field_of(
                data, backbones or (), filters=filters, scorers=scores, limit=limit, pooling=pooling, device=device,
                seed=seed, read=read, offline=offline, watch=view,
            )  # fmt: skip
            if dry_run:
                return _left(field, context, json=json)
            if only is not None:
                return show_done(only, extract_one(field, only), json=json)
            found = ranked(field, finetune=finetune, budget=budget, executor=executor, jobs=jobs)
    if csv is not None:
        write(csv, found.to_csv())
        console.note(f"wrote {csv}")
    if json:
        return console.print_json(found.to_json())
    return show(found) if isinstance(found, Ranking) else show_layers(found)


def _check_layers(finetune: int, pooling: str | None, *, jobs: bool) -> None:
    """Refuse what stages have not."""
    if finetune or pooling:
        raise UsageError(
            f"--layers scores stages, and {'--finetune trains' if finetune else '--pooling is of'} whole backbones",
            help="leave one of them out",
        )
    if jobs:
        raise UsageError(
            "--layers looks at one backbone after the other, in this process",
            help="leave it out, or --jobs, --executor, --dry-run and --only",
        )


def _left(field: Field, context: typer.Context, *, json: bool) -> None:
    from zoo.verbs.jobs import of_ranking

    left = of_ranking(field, words_of(context))
    return console.print_json(left.to_json()) if json else show_jobs(left)


def write(path: Path, text: str) -> None:
    """Text into a file.

    Raises:
        UsageError: it cannot be written.
    """
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written: {error.strerror}", help="give a file in a folder that is"
        ) from error


def show(found: Ranking) -> None:
    """The candidates as a table, the best first, and what speaks for and against that order."""
    count = len(found.ranked)
    candidates = "1 candidate" if count == 1 else f"{count} candidates"
    console.print_text(f"{found.data}: {candidates} on {found.rows:,} training rows, {found.task.kind}")
    priors = any(each.prior for each in found.ranked)
    tuned = any(each.tuned for each in found.ranked)
    header = ["", "backbone", *found.scorers, "params", "published"]
    header += ["past runs"] * priors + ["ms/row"] + [f"fine-tuned {found.metric}"] * tuned
    short = shortened([each.backbone for each in found.ranked])
    rows = []
    for each in found.ranked:
        row = [str(each.place), short[each.backbone], *(_score(each, name, name in found.by) for name in found.scorers)]
        row += [console.human_count(each.params), _published(each)]
        row += [f"{each.prior.score:.2f} ({each.prior.sets})" if each.prior else "-"] * priors
        row += ["cached" if each.ms_per_row is None else f"{each.ms_per_row:.1f}"]
        row += [_tuned(each)] * tuned
        rows.append(row)
    console.print_table(header, rows)
    console.print_text(
        f"ordered by {' and '.join(found.by)} [95% interval over rows]; candidates of one rank cannot be told apart"
    )
    for sentence in found.findings:
        console.print_text(_with(sentence, short))
    for name, why in found.failures.items():
        console.print_text(f"left out: {name}: {why}")
    scored = sum(each.score_seconds for each in found.ranked)
    extracted = sum(each.extract_seconds for each in found.ranked)
    console.print_text(f"features in {extracted:.1f} s, scores in {scored:.1f} s")


def show_layers(found: Profile) -> None:
    """The stages of each backbone as a table, stem to top."""
    console.print_text(f"{found.data}: {found.rows:,} training rows, {found.task.kind}")
    short = shortened(list(found.backbones))
    for backbone, layers in found.backbones.items():
        console.print_text(short[backbone])
        table = [
            [
                each.name,
                str(each.place),
                *(_score(each, name, name in found.by) for name in found.scorers),
                str(each.dim),
            ]
            for each in layers
        ]
        console.print_table(["layer", "rank", *found.scorers, "dim"], table)
    console.print_text("each stage averaged over its positions [95% interval over rows]")
    for sentence in found.findings:
        console.print_text(_with(sentence, short))
    for name, why in found.failures.items():
        console.print_text(f"left out: {name}: {why}")


def shortened(names: Sequence[str]) -> dict[str, str]:
    """Names with the middle of long paths left out, where that leaves them apart."""
    found = {name: _PATH.sub(r"/…/\1", name) for name in names}
    return found if len(set(found.values())) == len(found) else {name: name for name in names}


def _score(each: Ranked | Layer, name: str, with_interval: bool) -> str:
    if name not in each.scores:
        return "-"
    scored = each.scores[name]
    if not with_interval:
        return f"{scored.value:.3g}"
    low, high = scored.interval or (None, None)
    return f"{scored.value:.3f}" + ("" if low is None else f" [{low:.3f}, {high:.3f}]")


def _with(sentence: str, short: dict[str, str]) -> str:
    for name in sorted(short, key=len, reverse=True):
        sentence = sentence.replace(name, short[name])
    return sentence


def _published(each: Ranked) -> str:
    return f"{each.published[0]} {each.published[1]:.3g}" if each.published else "-"


def _tuned(each: Ranked) -> str:
    if each.tuned is None:
        return "-"
    value = "-" if each.tuned.value is None else f"{each.tuned.value:.3f}"
    how = f"{each.tuned.epochs} epochs" if each.tuned.epochs else "solved head"
    return (
        f"{value} ({how})"
        if each.tuned.ended == "done"
        else f"{value} ({each.tuned.epochs} epochs, {each.tuned.ended})"
    )

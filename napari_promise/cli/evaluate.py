"""`napari-promise evaluate`: scores of a model on images with masks, shown and kept."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from napari_promise.cli.arguments import (
    AdapterOption,
    CertificateOption,
    CloserOption,
    DeviceOption,
    ForceOption,
    ModelOption,
    SchedulerOption,
    SkipUnpairedOption,
    WorkersOption,
    checked_arguments,
)
from napari_promise.cli.loading import Elsewhere, load_segmenter
from napari_promise.cli.output import fail, print_table, progress_bar, say, say_masks


def evaluate(
    context: typer.Context,
    images: Annotated[Path, typer.Option("--images", help="Folder of images.")],
    masks: Annotated[
        Path, typer.Option("--masks", help="Folder of masks of the same names.")
    ],
    prompts: Annotated[
        list[str],
        typer.Option(
            help="auto, auto+click:K, auto+noc, click:K, gt:P, box or noc, and after "
            "clicks +local for corrections as the window makes them, then +loose for "
            "clicks that miss the centre of the error; several by commas, or the "
            "option again. noc counts clicks until an IoU of .85 and .90.",
        ),
    ],
    model: ModelOption = "promise-tiny",
    adapter: AdapterOption = None,
    json_: Annotated[
        Path | None,
        typer.Option("--json", help="Write means and every score; - for stdout."),
    ] = None,
    csv: Annotated[
        Path | None, typer.Option("--csv", help="Write a row for each object.")
    ] = None,
    overlays: Annotated[
        Path | None,
        typer.Option(help="Folder for a page of the worst, median and best objects."),
    ] = None,
    group: Annotated[
        str | None,
        typer.Option(
            help="Regular expression: images whose names match alike are one patient "
            "or sequence; intervals are then by group."
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Only the first so many images.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the random points of gt:P.")] = 0,
    closer: CloserOption = True,
    skip_unpaired: SkipUnpairedOption = False,
    device: DeviceOption = "auto",
    workers: WorkersOption = None,
    scheduler: SchedulerOption = None,
    certificate: CertificateOption = None,
    force: ForceOption = False,
) -> None:
    """Measure a model, with or without an adapter, on images with masks.

    Each way of prompting has a column of its own: automatic scores and scores prompted
    from the truth never share one; frozen SAM with the same prompts stands beside an
    adapter's. Means come with 95 % bootstrap intervals. With an adapter that finds many
    objects, auto compares them with instance labels, object by object: AP, panoptic
    quality, and whether each has one point. Of stacks every plane that
    holds an object is measured; intervals are then by stack.
    """
    from napari_promise.data.export import save_json
    from napari_promise.data.pairs import find_pairs, images_of, planes_of
    from napari_promise.training import metrics, report
    from napari_promise.training.evaluate import evaluate_all
    from napari_promise.training.simulated_prompts import PromptPlan

    to_stdout = json_ is not None and str(json_) == "-"
    with checked_arguments():
        ways = [text.strip() for option in prompts for text in option.split(",")]
        plans = [PromptPlan.parse(text) for text in ways]
        for text, plan in zip(ways, plans, strict=True):
            if ways.count(text) > 1:
                raise ValueError(f"--prompts {text} is there twice: give it once.")
            if plan.automatic and adapter is None:
                raise ValueError(
                    f"--prompts {text} needs an adapter that proposes points: add "
                    "--adapter."
                )
            if plan.local and adapter is None:
                raise ValueError(
                    f"--prompts {text}: corrections are local with an adapter only: "
                    "add --adapter, or leave +local out."
                )
        page = None if overlays is None else overlays / report.PAGE
        if overlays is not None and overlays.exists() and not overlays.is_dir():
            raise ValueError(f"--overlays {overlays} is a file: give a folder.")
        _check_free("--json", None if to_stdout else json_, force)
        _check_free("--csv", csv, force)
        if overlays is not None and overlays.is_dir():
            _check_free("--overlays", page, force)
        pairs = find_pairs(images, masks, group=group, skip_unpaired=skip_unpaired)
        pairs = list(planes_of(pairs[:limit]))
    say_masks(pairs)
    automatic = any(plan.automatic for plan in plans)
    elsewhere = Elsewhere(context, workers, scheduler, certificate)
    segmenter = load_segmenter(model, adapter, device, not automatic, elsewhere)
    if elsewhere:
        segmenter.feed(images_of(pairs))
    if segmenter.finds_many and automatic:
        if any(
            plan.automatic and text != "auto"
            for text, plan in zip(ways, plans, strict=True)
        ):
            raise typer.Exit(
                fail("of many objects an image only --prompts auto is measured.", 2)
            )
        if overlays is not None or csv is not None:
            raise typer.Exit(
                fail("many objects an image are written as --json only.", 2)
            )
        ways.remove("auto")
        _instances(segmenter, pairs, closer, None if ways else json_, force)
        if not ways:
            return
    if not metrics.has_monai() and not all(plan.noc for plan in plans):
        say(
            "HD95 is left out, because MONAI is not installed: pip install "
            "'napari-promise[metrics]'."
        )
    with progress_bar() as progress:
        task = progress.add_task(f"measuring {', '.join(ways)}", total=len(pairs))
        found = evaluate_all(
            pairs,
            segmenter,
            ways,
            seed=seed,
            metrics=True,
            examples=overlays is not None,
            progress=lambda done, pair: progress.update(task, completed=done),
        )
    skipped = dict.fromkeys(line for each in found for line in each.skipped)
    for line in skipped:
        say(f"left out: {line}")
    if not any(each.scores for each in found):
        raise typer.Exit(1)  # nothing was measured, so there is nothing to write
    if to_stdout:
        import json

        print(json.dumps(report.to_json(found), indent=1))
    else:
        print_table(*report.table(found))
        grouped = any(score.group for each in found for score in each.scores)
        by = "groups" if grouped else "images"
        say(
            f"in brackets 95 % intervals: {metrics.RESAMPLES} bootstrap resamples of "
            f"the {by}."
        )
        if json_ is not None:
            saved = save_json(json_, report.to_json(found), overwrite=force)
            print(f"scores: {saved}")
    if csv is not None:
        say(f"objects: {report.save_csv(csv, found, overwrite=force)}")
    if overlays is not None:
        saved = report.save_overlays(overlays, found, pairs, overwrite=force)
        say(f"overlays: {saved}")
    unreadable = [line for line in skipped if "mask is empty" not in line]
    if unreadable or not all(each.scores for each in found):
        raise typer.Exit(1)


def _instances(
    segmenter: Any, pairs: list[Any], closer: bool, json_: Path | None, force: bool
) -> None:
    """Score the objects that an adapter of many finds, one by one."""
    from napari_promise.data.export import save_json
    from napari_promise.training.evaluate_instances import evaluate_instances
    from napari_promise.training.metrics import RESAMPLES

    with progress_bar() as progress:
        task = progress.add_task("measuring auto, object by object", total=len(pairs))
        found = evaluate_instances(
            pairs,
            segmenter,
            closer=closer,
            progress=lambda done, pair: progress.update(task, completed=done),
        )
    for line in found.skipped:
        say(f"left out: {line}")
    if json_ is not None and str(json_) == "-":
        import json

        print(json.dumps(found.to_json(), indent=1))
    else:
        print_table(*found.table())
        say(f"in brackets 95 % intervals: {RESAMPLES} bootstrap resamples.")
        if json_ is not None:
            print(f"scores: {save_json(json_, found.to_json(), overwrite=force)}")
    if found.skipped or not found.images:
        raise typer.Exit(1)


def _check_free(option: str, path: Path | None, force: bool) -> None:
    """Refuse, before any work, a file that could not be written at its end."""
    if path is None:
        return
    if path.exists() and not force:
        raise ValueError(
            f"{option} {path} exists already: choose another name or add --force."
        )
    if not path.parent.is_dir():
        raise ValueError(f"{option} {path}: the folder {path.parent} does not exist.")

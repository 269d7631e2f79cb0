"""`napari-promise train`: arguments to a `TrainConfig`, and what its run says."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from napari_promise.cli.arguments import (
    CertificateOption,
    DeviceOption,
    ForceOption,
    ModelOption,
    SchedulerOption,
    SkipUnpairedOption,
    WorkersOption,
    checked_arguments,
)
from napari_promise.cli.loading import Elsewhere, load_segmenter, model_source
from napari_promise.cli.output import fail, progress_bar, say, say_masks


def train(
    context: typer.Context,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder of the adapter.")
    ],
    images: Annotated[
        Path | None, typer.Option("--images", help="Folder of images.")
    ] = None,
    masks: Annotated[
        Path | None, typer.Option("--masks", help="Folder of masks of the same names.")
    ] = None,
    pairs: Annotated[
        Path | None,
        typer.Option(
            help="Instead of folders: a CSV with the columns image, mask and perhaps "
            "group (or set/group, to score each set alone too)."
        ),
    ] = None,
    model: ModelOption = "promise-tiny",
    apm: Annotated[
        str,
        typer.Option(
            help="The auto-prompting module: heatmap, the paper's resnet or cross, "
            "instances for many objects an image (masks are then labels, another "
            "number for each object), instant (in closed form: no passes, from one "
            "image on), or none."
        ),
    ] = "heatmap",
    points: Annotated[int, typer.Option(help="Points that it places.")] = 16,
    ips: Annotated[
        bool, typer.Option("--ips/--no-ips", help="Train the pattern shift.")
    ] = True,
    epochs: Annotated[
        int | None, typer.Option(help="Passes of the auto-prompting module.")
    ] = None,
    ips_epochs: Annotated[
        int | None, typer.Option(help="Passes of the pattern shift.")
    ] = None,
    views: Annotated[
        int | None, typer.Option(help="Views of each image: itself, and augmented.")
    ] = None,
    held_out: Annotated[
        float | None, typer.Option(help="Share of the images kept for choosing.")
    ] = None,
    group: Annotated[
        str | None,
        typer.Option(
            "--group",
            "--group-pattern",
            help="Regular expression: images whose names match alike are one patient "
            "or sequence and never divided.",
        ),
    ] = None,
    auxiliary: Annotated[
        float | None,
        typer.Option(help="Weight of the point loss of resnet and cross; 0: none."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Same seed, same adapter.")] = 0,
    name: Annotated[
        str | None, typer.Option(help="The adapter's name; by default the folder's.")
    ] = None,
    class_name: Annotated[str, typer.Option(help="What it segments.")] = "object",
    trained_on: Annotated[str, typer.Option(help="Said in adapter.json.")] = "",
    licence: Annotated[str, typer.Option(help="The data's terms.")] = "",
    skip_unpaired: SkipUnpairedOption = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run that stopped there.")
    ] = False,
    cache: Annotated[
        Path | None,
        typer.Option(help="Folder of encoded views; by default in the user's cache."),
    ] = None,
    keep_cache: Annotated[
        bool,
        typer.Option("--keep-cache/--no-keep-cache", help="For the next run."),
    ] = True,
    cache_quota: Annotated[
        float | None, typer.Option(help="GB that this folder may hold.")
    ] = None,
    device: DeviceOption = "auto",
    workers: WorkersOption = None,
    scheduler: SchedulerOption = None,
    certificate: CertificateOption = None,
    processes: Annotated[
        int | None,
        typer.Option(min=1, help="Train in so many processes: one for each GPU."),
    ] = None,
    force: ForceOption = False,
) -> None:
    """Train an adapter on images with masks; SAM itself stays frozen.

    Of stacks (NIfTI, TIFF, NumPy, multi-frame DICOM) each plane that holds an object
    is a sample; planes of one stack are never divided between training and held out.

    Stopping with Ctrl+C keeps the best adapter so far; --resume goes on from there,
    or from where the run was killed.
    """
    from napari_promise.model.adapters import AdapterInfo
    from napari_promise.training.config import TrainConfig

    given: dict[str, Any] = {
        "apm_epochs": epochs,
        "ips_epochs": ips_epochs,
        "views": views,
        "held_out_share": held_out,
        "auxiliary": auxiliary,
        "cache_quota": None if cache_quota is None else int(cache_quota * 1e9),
    }
    with checked_arguments():
        if (output / "adapter.json").exists() and not (force or resume):
            raise ValueError(
                f"--output {output} holds an adapter already: choose another folder or "
                "add --force (to go on with a run that stopped: --resume)."
            )
        if output.exists() and not output.is_dir():
            raise ValueError(f"--output {output} is a file: give a folder.")
        name = name or output.resolve().name
        AdapterInfo(name, model, "")  # refuses a name that cannot be a folder's
        found = tuple(_pairs(images, masks, pairs, group, skip_unpaired))
        fitting = _fitting(len(found), apm == "instances")
        config = TrainConfig(
            pairs=found,
            name=name,
            output=output,
            model=model if scheduler else model_source(model),
            device=device,
            apm=apm,
            points=points,
            ips=ips,
            seed=seed,
            class_name=class_name,
            trained_on=trained_on or (images or pairs or output).resolve().stem,
            resume=resume,
            cache=cache,
            keep_cache=keep_cache,
            licence=licence,
            **fitting | {k: value for k, value in given.items() if value is not None},
        )
    say_masks(found)
    elsewhere = Elsewhere(context, workers, scheduler, certificate)
    sam = team = None
    if processes is not None:
        if elsewhere:
            raise typer.Exit(
                fail("--processes cannot be combined with --workers: encode first.", 2)
            )
        with checked_arguments():
            team = _team(processes, device)
        config = dataclasses.replace(config, device=str(team.device))
    if elsewhere:
        sam = load_segmenter(model, None, device, True, elsewhere).sam
    _train(config, output, sam, team)


def _pairs(
    images: Path | None,
    masks: Path | None,
    table: Path | None,
    group: str | None,
    skip_unpaired: bool,
) -> list[Any]:
    """Find samples in two folders or a table; planes of stacks are samples."""
    from napari_promise.data.pairs import planes_of

    found = _pairs_of_files(images, masks, table, group, skip_unpaired)
    samples = list(planes_of(found))
    planes = [sample for sample in samples if sample.plane]
    if planes:
        stacks = len({sample.image for sample in planes})
        say(
            f"{len(planes)} planes of {stacks} stack{'s' * (stacks > 1)} are samples: "
            "those that hold an object."
        )
    return samples


def _pairs_of_files(
    images: Path | None,
    masks: Path | None,
    table: Path | None,
    group: str | None,
    skip_unpaired: bool,
) -> list[Any]:
    from napari_promise.data.pairs import find_pairs, read_pairs, unpaired_images

    if table is not None:
        if images is not None or masks is not None:
            raise ValueError("give --pairs, or --images and --masks, not both.")
        return list(read_pairs(table, group=group))
    if images is None or masks is None:
        raise ValueError("give --images and --masks, or a table with --pairs.")
    found = find_pairs(images, masks, group=group, skip_unpaired=skip_unpaired)
    alone = [path.name for path in unpaired_images(images, masks)]
    if alone:
        more = f" and {len(alone) - 5} more" if len(alone) > 5 else ""
        say(f"{len(alone)} images have no mask: {', '.join(alone[:5])}{more}.")
    return list(found)


def _fitting(count: int, many: bool) -> dict[str, Any]:
    """Return settings that fit a number of images; fewer than two are refused later."""
    from napari_promise.training.recipe import recipe_for

    return recipe_for(count, many=many) if count > 1 else {}


#: What the held-out scores of many objects an image are called.
_NAMES = {
    "map": "outlines of the prompter's own maps, mean of AP.5 and AP.5-.95",
    "ap50": "AP.5",
    "ap75": "AP.75",
    "msa": "AP.5-.95",
    "pq": "panoptic quality",
    "f1": "F1",
    "recall": "points, recall",
    "precision": "points, precision",
}


def _team(processes: int, device: str) -> Any:
    """Start the other processes; what they would say too is said once."""
    from napari_promise.training.team import form_team

    team = form_team(processes, device)
    if not team.is_first:
        nowhere = open(os.devnull, "w")
        sys.stdout = sys.stderr = nowhere
    return team


def _train(config: Any, output: Path, sam: Any, team: Any) -> None:
    from napari_promise.files import duration
    from napari_promise.training.trainer import train as run

    scores: dict[str, float] = {}
    tasks: dict[str, Any] = {}
    # Closed at once when interrupted, because that is when it writes what it has.
    steps = contextlib.closing(
        cast("Generator[Any, None, None]", run(config, sam, team=team))
    )
    try:
        with progress_bar() as progress, steps as running:
            for step in running:
                if step.phase not in tasks:
                    tasks[step.phase] = progress.add_task(step.phase)
                loss = "" if step.loss is None else f" loss {step.loss:.3f}"
                left = "" if not step.eta else f", {duration(step.eta)} left in all"
                progress.update(
                    tasks[step.phase],
                    description=f"{step.phase}{loss}{left}",
                    completed=step.step,
                    total=step.total or None,
                )
                if step.message:
                    say(step.message)
                scores = step.held_out or scores
    except KeyboardInterrupt:
        kept = (output / "adapter.json").exists()
        rest = (
            f"the best so far is in {output}, --resume goes on."
            if kept
            else "nothing was kept."
        )
        raise typer.Exit(fail(f"stopped; {rest}", 1)) from None
    for key, value in scores.items():
        name = key.replace("_", " ")
        what = _NAMES.get(key, name) if config.apm == "instances" else f"{name} Dice"
        print(f"{what}, held out: {value:.3f}")
    print(f"adapter: {output}")

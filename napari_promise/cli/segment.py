"""`napari-promise segment`: image after image, past what is done and what is broken.

What is wanted of them stands in `segment_request`, which files they become in
`segment_files`, and how one of them is segmented in `segment_image`.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_promise.cli.arguments import (
    AdapterOption,
    CertificateOption,
    CloserOption,
    DeviceOption,
    ForceOption,
    ModelOption,
    SchedulerOption,
    WorkersOption,
    checked_arguments,
)
from napari_promise.cli.loading import Elsewhere, load_segmenter
from napari_promise.cli.output import progress_bar, say
from napari_promise.cli.segment_files import find_jobs
from napari_promise.cli.segment_image import segment_image, upcoming
from napari_promise.cli.segment_request import (
    differences,
    read_request,
    read_tiles,
)
from napari_promise.cli.segment_volume import read_volume_request, segment_volume
from napari_promise.data.ct_windows import CT_WINDOWS

if TYPE_CHECKING:
    from napari_promise.data.embeddings import EmbeddingCache

_LIMITS_HELP = (
    '"low,high": the values shown black and white, or a window of CT: '
    + ", ".join(CT_WINDOWS)
    + "."
)


def segment(
    context: typer.Context,
    images: Annotated[
        list[Path],
        typer.Argument(help="Image files, folders or patterns.", show_default=False),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", help="Folder for the results; for one image also a file."
        ),
    ],
    model: ModelOption = "promise-tiny",
    adapter: AdapterOption = None,
    points: Annotated[
        list[str] | None,
        typer.Option(
            help='"row,column,1;row,column,0": 1 include, 0 exclude.', metavar="POINTS"
        ),
    ] = None,
    box: Annotated[
        list[str] | None,
        typer.Option(help='"r0,c0,r1,c1" around the object.', metavar="BOX"),
    ] = None,
    prompts: Annotated[
        Path | None,
        typer.Option(help="Replay a prompts file that was exported before."),
    ] = None,
    format_: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="png, tif, npy, nii, nii.gz, zarr, or dcm of DICOM images. By default "
            "png, tif for stacks, nii.gz for NIfTI and zarr for what is beyond memory.",
        ),
    ] = None,
    contrast_limits: Annotated[
        str | None,
        typer.Option(help=_LIMITS_HELP),
    ] = None,
    ips: Annotated[
        bool, typer.Option("--ips/--no-ips", help="Use the adapter's pattern shift.")
    ] = True,
    closer: CloserOption = True,
    local: Annotated[
        bool,
        typer.Option(
            "--local/--no-local",
            help="Let corrections of replayed prompts change the mask only where they "
            "point, as in the window.",
        ),
    ] = True,
    propagate: Annotated[
        bool,
        typer.Option(
            "--propagate",
            help="Carry the objects of --prompts from the planes they are prompted on "
            "through the whole stack; without, the object that the adapter proposes on "
            "some planes.",
        ),
    ] = False,
    z_range: Annotated[
        str | None,
        typer.Option(help='With --propagate, "first,last" plane to go to.'),
    ] = None,
    every: Annotated[
        int | None,
        typer.Option(
            help="With --propagate and an adapter: ask it on one of so many planes. By "
            "default on about twelve in all.",
            min=1,
        ),
    ] = None,
    region: Annotated[
        str | None,
        typer.Option(
            help='"r0,c0,r1,c1": show this part of each image to the model, at its '
            "full resolution.",
            metavar="REGION",
        ),
    ] = None,
    tiles: Annotated[
        str,
        typer.Option(
            help='"auto": look at each object from as close as its size asks, as the '
            'window does. "whole": at the whole image alone. For adapters of many '
            "objects, see --closer."
        ),
    ] = "whole",
    device: DeviceOption = "auto",
    workers: WorkersOption = None,
    scheduler: SchedulerOption = None,
    certificate: CertificateOption = None,
    cache: Annotated[
        bool,
        typer.Option("--cache/--no-cache", help="Keep embeddings on disk for later."),
    ] = True,
    force: ForceOption = False,
) -> None:
    """Segment images: a label file, its prompts and its provenance for each.

    With --points, --box or --prompts these are used on every image; without, the
    adapter proposes the prompts. A single object is written to PNG as a mask (0 and
    255), several as object ids with a table of colours for the eye; all other formats
    hold object ids. What is done is skipped; a broken file does not stop the rest.

    Images beyond memory (OME-Zarr, pyramidal TIFF) are read and written by tile; their
    labels become OME-Zarr. Replayed prompts see the tiles that they were made on.
    """
    from rich.markup import escape

    with checked_arguments():
        request = read_request(points, box, prompts, contrast_limits, adapter)
        request = replace(request, ips=ips, local=local, closer=closer)
        request = read_tiles(request, region, tiles)
        volume = read_volume_request(request, propagate, z_range, every)
        jobs = find_jobs(images, output, format_)
    waiting = [job for job in jobs if force or not job.labels.exists()]
    skipped = len(jobs) - len(waiting)
    failed = 0
    if waiting:
        elsewhere = Elsewhere(context, workers, scheduler, certificate)
        segmenter = load_segmenter(
            model, adapter, device, bool(request.objects), elsewhere
        )
        if request.replayed is not None:
            changed = differences(request, request.replayed, segmenter)
            if changed:
                say(f"{prompts}: {changed}, so masks may differ from those saved.")
        embeddings = _embeddings() if cache else None
        # Made only now, so that bad arguments leave nothing behind.
        waiting[0].labels.parent.mkdir(parents=True, exist_ok=True)
        if elsewhere and volume is None:
            segmenter.feed(upcoming(waiting, request, segmenter, embeddings))
        with progress_bar() as progress:
            task = progress.add_task("segmenting", total=len(waiting))
            for job in waiting:
                progress.update(task, description=escape(job.image.name))
                try:
                    note = (
                        segment_image(job, request, segmenter, embeddings, force)
                        if volume is None
                        else segment_volume(job, volume, segmenter, embeddings, force)
                    )
                except (OSError, ValueError, RuntimeError) as error:
                    failed += 1
                    say(_naming(job.image, error))
                else:
                    if note:
                        say(f"{job.image}: {note}")
                progress.advance(task)
    print(
        f"{len(waiting) - failed} segmented, {skipped} skipped, {failed} failed: "
        f"{output}"
    )
    if failed:
        raise typer.Exit(1)


def _embeddings() -> EmbeddingCache:
    from napari_promise.data.embeddings import EmbeddingCache, default_folder

    return EmbeddingCache(default_folder(), memory_bytes=0, on_warning=say)


def _naming(path: Path, error: Exception) -> str:
    message = str(error) or type(error).__name__
    return message if str(path) in message else f"{path}: {message}"

"""The command line: arguments in, the same functions as the window's, files out.

Knows no window and no network of its own. Everything heavy is imported inside the
commands, so that ``napari-promise --help`` answers at once. Results go to stdout,
progress and messages to stderr, each message one line with the value and the remedy.
Exit status: 0 done, 2 bad arguments (nothing was done), 1 work failed.
"""

from __future__ import annotations

import contextlib
import math
import os
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from rich.progress import Progress

    from napari_promise.data.embeddings import EmbeddingCache
    from napari_promise.data.export import PromptsFile, SavedObject
    from napari_promise.model.adapters import InstalledAdapter
    from napari_promise.prompts import Prompts
    from napari_promise.segmenter import Segmenter

__all__ = ["app", "main"]

app = typer.Typer(
    name="napari-promise",
    help="Promptable segmentation: a frozen SAM, and ProMISe adapters on top.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
models_app = typer.Typer(help="The models, and their files.")
adapters_app = typer.Typer(help="The adapters on this computer.")
app.add_typer(models_app, name="models", invoke_without_command=True)
app.add_typer(adapters_app, name="adapters", invoke_without_command=True)

# typer's own errors, whichever click it stands on.
_UsageError: Any = typer.BadParameter.__bases__[0]
_ClickException: Any = _UsageError.__bases__[0]

_PLANE_FORMATS = ("png", "tif", "npy", "nii", "nii.gz")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status.

    Parameters
    ----------
    arguments : sequence of str, optional
        Without the program's name; by default those the program was started with.

    Returns
    -------
    int
        0 done, 1 work failed, 2 bad arguments.
    """
    command = typer.main.get_command(app)
    try:
        status = command.main(
            args=None if arguments is None else list(arguments),
            prog_name="napari-promise",
            standalone_mode=False,
        )
    except typer.Abort:
        return _fail("stopped.", 1)
    except KeyboardInterrupt:
        return _fail("stopped.", 1)
    except _ClickException as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            _say(error.format_message())
            return 2
        return _fail(error.format_message(), getattr(error, "exit_code", 2))
    except BrokenPipeError:  # the reader, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (OSError, ValueError, RuntimeError) as error:
        return _fail(str(error), 1)
    return int(status or 0)


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[
        bool, typer.Option("--version", help="Say the version and stop.", is_eager=True)
    ] = False,
) -> None:
    if version:
        from napari_promise import __version__

        print(f"napari-promise {__version__}")
        raise typer.Exit


# Shared options

ModelOption = Annotated[
    str, typer.Option("--model", "-m", help="A model's name or a checkpoint file.")
]
AdapterOption = Annotated[
    str | None, typer.Option("--adapter", "-a", help="An adapter's name or folder.")
]
DeviceOption = Annotated[
    str, typer.Option("--device", help="auto, cpu, cuda or mps.", show_default=True)
]
ImagesOption = Annotated[Path, typer.Option("--images", help="Folder of images.")]
MasksOption = Annotated[
    Path, typer.Option("--masks", help="Folder of masks of the same names.")
]
SkipUnpairedOption = Annotated[
    bool, typer.Option("--skip-unpaired", help="Leave out images without a mask.")
]
ForceOption = Annotated[
    bool, typer.Option("--force", "-f", help="Do it again, replacing what is there.")
]


@app.command()
def demo(
    auto: Annotated[
        bool | None,
        typer.Option(
            "--auto/--no-auto",
            help="Auto-prompt, click, commit and export by itself, then close; by "
            "default only where there is no display.",
        ),
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Where --auto leaves its files.")
    ] = Path("demo"),
) -> None:
    """Open napari on a sample image, ready to click."""
    from napari_promise import demo as demonstration

    status = demonstration.main(auto=auto, out=output)
    if status:
        raise typer.Exit(int(status))


# segment


@dataclass(frozen=True)
class _Job:
    """One image and the files that it becomes."""

    image: Path
    labels: Path

    @property
    def prompts(self) -> Path:
        from napari_promise.data.pairs import stem_of

        return self.labels.with_name(stem_of(self.labels) + ".prompts.json")


@dataclass(frozen=True)
class _Request:
    """What is wanted of every image."""

    objects: tuple[SavedObject, ...]  # empty: the adapter proposes
    contrast_limits: tuple[float, float] | None
    replayed: PromptsFile | None = None
    ips: bool = True
    local: bool = True


@app.command()
def segment(
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
            help="png, tif, npy, nii or nii.gz. By default png, tif for stacks and "
            "nii.gz for NIfTI.",
        ),
    ] = None,
    contrast_limits: Annotated[
        str | None,
        typer.Option(help='"low,high": the values shown black and white.'),
    ] = None,
    ips: Annotated[
        bool, typer.Option("--ips/--no-ips", help="Use the adapter's pattern shift.")
    ] = True,
    local: Annotated[
        bool,
        typer.Option(
            "--local/--no-local",
            help="With an adapter, let corrections of replayed prompts change the mask "
            "only where they point, as in the window.",
        ),
    ] = True,
    device: DeviceOption = "auto",
    cache: Annotated[
        bool,
        typer.Option("--cache/--no-cache", help="Keep embeddings on disk for later."),
    ] = True,
    force: ForceOption = False,
) -> None:
    """Segment images: a label file, its prompts and its provenance for each.

    With --points, --box or --prompts these are used on every image; without, the
    adapter proposes the prompts. A single object is written to PNG as a mask (0 and
    255), several, and all other formats, as object ids. What is done is skipped; a
    broken file does not stop the rest.
    """
    from rich.markup import escape

    with _arguments():
        request = _request(points, box, prompts, contrast_limits, adapter)
        request = replace(request, ips=ips, local=local)
        jobs = _jobs(images, output, format_)
    waiting = [job for job in jobs if force or not job.labels.exists()]
    skipped = len(jobs) - len(waiting)
    failed = 0
    if waiting:
        segmenter = _segmenter(model, adapter, device, bool(request.objects))
        if request.replayed is not None:
            changed = _differences(request, request.replayed, segmenter)
            if changed:
                _say(f"{prompts}: {changed}, so masks may differ from those saved.")
        embeddings = _embeddings() if cache else None
        # Made only now, so that bad arguments leave nothing behind.
        waiting[0].labels.parent.mkdir(parents=True, exist_ok=True)
        with _progress() as progress:
            task = progress.add_task("segmenting", total=len(waiting))
            for job in waiting:
                progress.update(task, description=escape(job.image.name))
                try:
                    note = _segment(job, request, segmenter, embeddings, force)
                except (OSError, ValueError, RuntimeError) as error:
                    failed += 1
                    _say(_naming(job.image, error))
                else:
                    if note:
                        _say(f"{job.image}: {note}")
                progress.advance(task)
    print(
        f"{len(waiting) - failed} segmented, {skipped} skipped, {failed} failed: "
        f"{output}"
    )
    if failed:
        raise typer.Exit(1)


def _request(
    points: list[str] | None,
    boxes: list[str] | None,
    replay: Path | None,
    contrast_limits: str | None,
    adapter: str | None,
) -> _Request:
    from napari_promise.data.export import SavedObject, load_prompts
    from napari_promise.prompts import Prompts

    objects: tuple[SavedObject, ...] = ()
    limits, replayed = None, None
    if contrast_limits is not None:
        low, high = _numbers("--contrast-limits", contrast_limits, (2,), "low,high")[0]
        limits = (low, high)
        if low > high:
            raise ValueError(
                f"--contrast-limits {contrast_limits}: the lower one comes first."
            )
    if points or boxes:
        if replay is not None:
            raise ValueError(
                "--prompts cannot be combined with --points or --box: leave one out."
            )
        at = _numbers("--points", ";".join(points or ()), (2, 3), "row,column,1")
        corners = _numbers("--box", ";".join(boxes or ()), (4,), "r0,c0,r1,c1")
        prompt = Prompts(
            points=[point[:2] for point in at],
            labels=[(*point, 1)[2] for point in at],
            boxes=corners,
        )
        objects = (SavedObject(1, prompt, sources=("user",) * len(at)),)
    elif replay is not None:
        replayed = load_prompts(replay)
        objects = tuple(o for o in replayed.objects if not o.prompts.is_empty)
        if not objects:
            raise ValueError(f"{replay} holds no object: there is nothing to replay.")
        saved = _image_of(replayed).get("contrast_limits")
        if limits is None and saved is not None:
            limits = (float(saved[0]), float(saved[1]))
    elif adapter is None:
        raise ValueError(
            "nothing says what to segment: give --points, --box or --prompts, or an "
            "--adapter that proposes points."
        )
    return _Request(objects, limits, replayed)


def _image_of(replayed: PromptsFile) -> dict[str, Any]:
    """Return what a prompts file says of its image, wherever it says it."""
    return {**(replayed.provenance.get("image") or {}), **replayed.image}


def _differences(request: _Request, replayed: PromptsFile, segmenter: Segmenter) -> str:
    """Say what is not as it was when the prompts were saved: masks may differ then."""
    then = replayed.provenance
    adapter, settings = then.get("adapter") or {}, then.get("settings") or {}
    pairs: list[tuple[str, Any, Any]] = [
        ("model", (then.get("model") or {}).get("name"), segmenter.model_id),
        (
            "adapter",
            adapter.get("name", "none"),
            "none" if segmenter.adapter_info is None else segmenter.adapter_info.name,
        ),
    ]
    if adapter and segmenter.adapter_info is not None:
        pairs.append(("IPS", settings.get("ips"), request.ips))
        pairs.append(("local corrections", settings.get("local"), request.local))
    return ", ".join(
        f"{what} {before} then and {now} now"
        for what, before, now in pairs
        if before is not None and before != now
    )


def _numbers(
    option: str, text: str, lengths: tuple[int, ...], example: str
) -> list[tuple[float, ...]]:
    """Read ``1,2,3;4,5,6``; every part must have one of the lengths."""
    parts = [part for part in text.split(";") if part.strip()]
    try:
        numbers = [tuple(float(n) for n in part.split(",")) for part in parts]
    except ValueError:
        numbers = [()]
    for part, values in zip(parts, numbers, strict=False):
        if len(values) not in lengths or not all(map(math.isfinite, values)):
            raise ValueError(
                f"{option} {part.strip()!r} cannot be read: write {example}, parts "
                "separated by semicolons."
            )
    return numbers


def _jobs(images: list[Path], output: Path, format_: str | None) -> list[_Job]:
    """Say which file every image becomes; two may not become the same."""
    from napari_promise.data.export import LABEL_SUFFIXES
    from napari_promise.data.pairs import find_images, stem_of

    if format_ is not None and format_.lstrip(".") not in _PLANE_FORMATS:
        raise ValueError(
            f"--format {format_} is unknown: use one of {', '.join(_PLANE_FORMATS)}."
        )
    found = find_images(images)
    for image in found:
        if not image.is_file():
            raise ValueError(f"{image} does not exist: check the name.")
    if output.name.lower().endswith(tuple(LABEL_SUFFIXES)) and not output.is_dir():
        if len(found) > 1:
            raise ValueError(
                f"--output {output} is one file for {len(found)} images: give a folder."
            )
        return [_Job(found[0], output)]
    if output.exists() and not output.is_dir():
        raise ValueError(f"--output {output} is a file: give a folder.")
    jobs: dict[Path, _Job] = {}
    for image in found:
        suffix = f".{(format_ or _format_for(image)).lstrip('.')}"
        job = _Job(image, output / (stem_of(image) + suffix))
        earlier = jobs.setdefault(job.labels, job)
        if earlier is not job:
            raise ValueError(
                f"{earlier.image} and {image} would both become {job.labels}: segment "
                "them into different folders."
            )
        if job.labels.resolve() == image.resolve():
            raise ValueError(
                f"{image} would be replaced by its own result: give another --output."
            )
    return list(jobs.values())


def _format_for(image: Path) -> str:
    """Choose a format by what the file holds, reading no more than its header."""
    name = image.name.lower()
    if name.endswith((".nii", ".nii.gz")):
        return "nii.gz"
    planes = 1
    with contextlib.suppress(Exception):  # said when the file is read
        if name.endswith((".tif", ".tiff")):
            import tifffile

            with tifffile.TiffFile(image) as file:
                series = file.series[0]
                axes = zip(series.axes, series.shape, strict=True)
                # S are the samples of a colour, wherever they are stored.
                shape = tuple(length for axis, length in axes if axis != "S")
                planes = math.prod(shape[:-2])
        elif name.endswith(".npy"):
            import numpy as np

            shape = np.load(image, mmap_mode="r").shape
            planes = math.prod(shape[: -3 if shape[-1] in (3, 4) else -2])
    return "png" if planes == 1 else "tif"


def _segmenter(
    model: str, adapter: str | None, device: str, is_prompted: bool
) -> Segmenter:
    """Load what was asked for; names that do not exist are bad arguments.

    Where nothing else prompts, the adapter must propose.
    """
    from napari_promise.model.sam import resolve_device
    from napari_promise.segmenter import Segmenter

    with _arguments():
        resolve_device(device)
        source = _model(model)
        with _progress() as progress:
            task = progress.add_task(f"loading {model}", total=None)
            segmenter = Segmenter.load(
                source,
                adapter=None,
                device=device,
                progress=lambda done, total: progress.update(
                    task, completed=done, total=total or None
                ),
                notify=_say,
            )
        segmenter.adapter = adapter
        info = segmenter.adapter_info
        if info is not None and info.apm == "none" and not is_prompted:
            raise ValueError(
                f"--adapter {adapter} proposes no points: prompt in another way."
            )
    return segmenter


def _model(model: str) -> str | Path:
    """Return a known model's name, or the path of a checkpoint that exists."""
    from napari_promise.model.weights import MODELS

    if model in MODELS:
        return model
    if Path(model).is_file():
        return Path(model)
    raise ValueError(
        f"--model {model} is neither a file nor a known model: use one of "
        f"{', '.join(MODELS)}."
    )


def _embeddings() -> EmbeddingCache:
    from napari_promise.data.embeddings import EmbeddingCache, default_folder

    return EmbeddingCache(default_folder(), memory_bytes=0, on_warning=_say)


def _segment(
    job: _Job,
    request: _Request,
    segmenter: Segmenter,
    embeddings: EmbeddingCache | None,
    force: bool,
) -> str:
    """Segment one image and write its files; return what is worth telling."""
    import numpy as np

    from napari_promise.data import export, planes
    from napari_promise.data.pairs import read_image

    pixels = read_image(job.image)
    rgb = pixels.ndim > 2 and pixels.shape[-1] in (3, 4) and not _is_nifti(job.image)
    shape = pixels.shape[:-1] if rgb else pixels.shape
    labels = np.zeros(shape, np.int64)
    done: list[SavedObject] = []
    digests: dict[str, str] = {}
    for index, plane in planes.iter_planes(pixels, rgb=rgb):
        wanted = _objects_on(index, request, len(shape) > 2)
        if request.objects and not wanted:
            continue
        rgb8 = planes.to_rgb8(plane, request.contrast_limits, rgb=rgb)
        digests[",".join(map(str, index))] = planes.digest(rgb8)
        embedding = _embed(segmenter, rgb8, embeddings, job.image.name)
        if not request.objects:
            wanted = [_proposed(segmenter, embedding, index)]
        for record in wanted:
            _check_inside(record.prompts, plane.shape[:2])
            if not _has_target(record.prompts):
                done.append(record)
                continue
            result = segmenter.segment(
                embedding, record.prompts, ips=request.ips, local=request.local
            )
            target = labels[index]
            target[result.mask & (target == 0)] = record.id
            done.append(replace(record, score=result.score))
    missing = {r.plane for r in request.objects} - {r.plane for r in done} - {()}
    if missing:
        raise ValueError(
            f"{job.image} has no plane {min(missing)} that the prompts speak of: "
            "replay them on the image they were made on."
        )
    image: dict[str, Any] = {"name": job.image.name, "digest": digests}
    if request.contrast_limits is not None:
        image["contrast_limits"] = list(request.contrast_limits)
    record_of_making = export.provenance(
        model=segmenter.model_id,
        model_sha256=segmenter.sha256,
        adapter=segmenter.adapter_info,
        adapter_sha256=segmenter.adapter_sha256,
        ips=request.ips and segmenter.adapter_info is not None,
        local=request.local and segmenter.adapter_info is not None,
    )
    export.save_prompts(
        job.prompts, done, image=image, metadata=record_of_making, overwrite=True
    )
    # The label file comes last: where it is, the image is done.
    values, placed = _as_saved(labels, job)
    export.save_labels(
        job.labels,
        values,
        affine=placed,
        metadata=record_of_making,
        image=image,
        overwrite=force,
    )
    if _are_other_pixels(request, digests):
        return "these are not the pixels that the prompts were made on."
    return "" if labels.any() else "nothing was found, the labels are empty."


def _are_other_pixels(request: _Request, digests: dict[str, str]) -> bool:
    """Tell whether a plane differs from the one whose prompts are replayed on it."""
    if request.replayed is None:
        return False
    saved = _image_of(request.replayed).get("digest") or {}
    if isinstance(saved, str):  # of an image with one plane
        saved = {"": saved}
    return any(digests.get(plane, value) != value for plane, value in saved.items())


def _objects_on(
    index: tuple[int, ...], request: _Request, is_stack: bool
) -> list[SavedObject]:
    """Pick the prompts of one plane; those without a plane hold for every one."""
    return [
        replace(record, plane=index)
        for record in request.objects
        if record.plane == index or (is_stack and record.plane == ())
    ]


def _proposed(segmenter: Segmenter, embedding: Any, index: tuple[int, ...]) -> Any:
    from napari_promise.data.export import SavedObject

    prompts = segmenter.propose(embedding)
    info = segmenter.adapter_info
    return SavedObject(
        id=1,
        prompts=prompts,
        plane=index,
        class_name="" if info is None else info.class_name,
        sources=("auto",) * len(prompts.points),
        coarse=prompts.logits,
    )


def _has_target(prompts: Prompts) -> bool:
    """Tell whether anything says where the object is."""
    return bool(
        (prompts.labels == 1).any() or len(prompts.boxes) or prompts.mask is not None
    )


def _check_inside(prompts: Prompts, shape: tuple[int, int]) -> None:
    rows, columns = shape
    for row, column in [*prompts.points, *prompts.boxes[:, :2], *prompts.boxes[:, 2:]]:
        if not (-0.5 <= row <= rows and -0.5 <= column <= columns):
            raise ValueError(
                f"the prompt at row {row:g}, column {column:g} lies outside the image "
                f"of {rows} rows and {columns} columns."
            )


def _embed(
    segmenter: Segmenter,
    rgb8: npt.NDArray[np.uint8],
    embeddings: EmbeddingCache | None,
    name: str,
) -> Any:
    """Return the embedding, encoding only what no session has encoded before."""
    from napari_promise.data.planes import digest

    if embeddings is None:
        return segmenter.encode(rgb8)
    key = (digest(rgb8), f"{segmenter.model_id}-{segmenter.sha256[:12]}")
    arrays = embeddings.get(key)
    if arrays is not None:
        return segmenter.restore(arrays)
    embedding = segmenter.encode(rgb8)
    embeddings.put(key, embedding.to_arrays(), {"image": name})
    return embedding


def _as_saved(
    labels: npt.NDArray[Any], job: _Job
) -> tuple[npt.NDArray[Any], npt.NDArray[np.float64] | None]:
    """Return the values as the file shall hold them, and their place in the world."""
    import numpy as np

    if job.labels.suffix.lower() == ".png" and labels.max() == 1:
        return labels * 255, None
    if not _is_nifti(job.image):
        return labels, None
    import nibabel

    source: Any = nibabel.load(job.image)
    labels = labels.reshape(source.shape[::-1])
    matrix = np.eye(labels.ndim + 1)
    spatial = min(labels.ndim, 3)
    first = labels.ndim - spatial
    affine = source.affine[:spatial, :spatial], source.affine[:spatial, 3]
    matrix[first:-1, first:-1] = affine[0][::-1, ::-1]
    matrix[first:-1, -1] = affine[1][::-1]
    return labels, matrix


def _is_nifti(path: Path) -> bool:
    return path.name.lower().endswith((".nii", ".nii.gz"))


# train and evaluate


@app.command()
def train(
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
            help="The auto-prompting module: heatmap, the paper's resnet or cross, or "
            "none."
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
    force: ForceOption = False,
) -> None:
    """Train an adapter on images with masks; SAM itself stays frozen.

    Stopping with Ctrl+C keeps the best adapter so far; --resume goes on from there,
    or from where the run was killed.
    """
    from napari_promise.model.adapters import AdapterInfo
    from napari_promise.training.config import TrainConfig
    from napari_promise.training.recipe import recipe_for

    given: dict[str, Any] = {
        "apm_epochs": epochs,
        "ips_epochs": ips_epochs,
        "views": views,
        "held_out_share": held_out,
        "auxiliary": auxiliary,
        "cache_quota": None if cache_quota is None else int(cache_quota * 1e9),
    }
    with _arguments():
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
        fitting = recipe_for(len(found)) if len(found) > 1 else {}
        config = TrainConfig(
            pairs=found,
            name=name,
            output=output,
            model=_model(model),
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
    _train(config, output)


def _pairs(
    images: Path | None,
    masks: Path | None,
    table: Path | None,
    group: str | None,
    skip_unpaired: bool,
) -> list[Any]:
    """Pairs from two folders, or from a table."""
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
        _say(f"{len(alone)} images have no mask: {', '.join(alone[:5])}{more}.")
    return list(found)


def _train(config: Any, output: Path) -> None:
    from napari_promise.training.embedder import spoken
    from napari_promise.training.trainer import train as run

    scores: dict[str, float] = {}
    tasks: dict[str, Any] = {}
    # Closed at once when interrupted, because that is when it writes what it has.
    steps = contextlib.closing(cast("Generator[Any, None, None]", run(config)))
    try:
        with _progress() as progress, steps as running:
            for step in running:
                if step.phase not in tasks:
                    tasks[step.phase] = progress.add_task(step.phase)
                loss = "" if step.loss is None else f" loss {step.loss:.3f}"
                left = "" if not step.eta else f", {spoken(step.eta)} left in all"
                progress.update(
                    tasks[step.phase],
                    description=f"{step.phase}{loss}{left}",
                    completed=step.step,
                    total=step.total or None,
                )
                if step.message:
                    _say(step.message)
                scores = step.held_out or scores
    except KeyboardInterrupt:
        kept = (output / "adapter.json").exists()
        rest = (
            f"the best so far is in {output}, --resume goes on."
            if kept
            else "nothing was kept."
        )
        raise typer.Exit(_fail(f"stopped; {rest}", 1)) from None
    for key, value in scores.items():
        print(f"{key.replace('_', ' ')} Dice, held out: {value:.3f}")
    print(f"adapter: {output}")


@app.command()
def evaluate(
    images: ImagesOption,
    masks: MasksOption,
    prompts: Annotated[
        list[str],
        typer.Option(
            help="auto, auto+click:K, auto+noc, click:K, gt:P, box or noc, and after "
            "clicks +local for corrections as the window makes them; several by "
            "commas, or the option again. noc counts clicks until an IoU of .85 and "
            ".90.",
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
    skip_unpaired: SkipUnpairedOption = False,
    device: DeviceOption = "auto",
    force: ForceOption = False,
) -> None:
    """Measure a model, with or without an adapter, on images with masks.

    Each way of prompting has a column of its own: automatic scores and scores prompted
    from the truth never share one; frozen SAM with the same prompts stands beside an
    adapter's. Means come with 95 % bootstrap intervals.
    """
    from napari_promise.data.export import save_json
    from napari_promise.data.pairs import find_pairs
    from napari_promise.training import metrics, report
    from napari_promise.training.evaluate import PromptPlan, evaluate_all

    to_stdout = json_ is not None and str(json_) == "-"
    with _arguments():
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
        pairs = pairs[:limit]
    automatic = any(plan.automatic for plan in plans)
    segmenter = _segmenter(model, adapter, device, not automatic)
    if not metrics.has_monai() and not all(plan.noc for plan in plans):
        _say(
            "HD95 is left out, because MONAI is not installed: pip install "
            "'napari-promise[metrics]'."
        )
    with _progress() as progress:
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
        _say(f"left out: {line}")
    if to_stdout:
        import json

        print(json.dumps(report.to_json(found), indent=1))
    else:
        _print_table(*report.table(found))
        by = "groups" if group is not None else "images"
        _say(
            f"in brackets 95 % intervals: {metrics.RESAMPLES} bootstrap resamples of "
            f"the {by}."
        )
        if json_ is not None:
            saved = save_json(json_, report.to_json(found), overwrite=force)
            print(f"scores: {saved}")
    if csv is not None:
        _say(f"objects: {report.save_csv(csv, found, overwrite=force)}")
    if overlays is not None:
        saved = report.save_overlays(overlays, found, pairs, overwrite=force)
        _say(f"overlays: {saved}")
    unreadable = [line for line in skipped if "mask is empty" not in line]
    if unreadable or not all(each.scores for each in found):
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


# models


@models_app.callback()
def _models(context: typer.Context) -> None:
    """List the models, or manage their files."""
    if context.invoked_subcommand is None:
        models_list()


@models_app.command("list")
def models_list() -> None:
    """List the models, and where each file is or belongs."""
    from napari_promise.model.weights import cache_dir, list_models

    _print_table(
        ("model", "size", "here", "licence", "file"),
        [
            (
                entry.info.name,
                f"{entry.info.size / 1e6:.0f} MB",
                "yes" if entry.available else "no",
                entry.info.licence,
                str(entry.path or cache_dir() / entry.info.file),
            )
            for entry in list_models()
        ],
    )


@models_app.command("download")
def models_download(
    names: Annotated[list[str], typer.Argument(help="Models to download.")],
) -> None:
    """Download models into the user's cache, each verified by its hash."""
    from napari_promise.model.weights import MODELS, fetch

    with _arguments():
        for name in names:
            if name not in MODELS:
                raise ValueError(
                    f"{name} is no known model: use one of {', '.join(MODELS)}."
                )
    for name in names:
        with _progress() as progress:
            task = progress.add_task(name, total=None)
            path = fetch(name, progress=_download_to(progress, task))
        print(f"{name}: {path}")


def _download_to(progress: Progress, task: Any) -> Callable[[int, int], None]:
    def update(done: int, total: int) -> None:
        progress.update(task, completed=done, total=total or None)

    return update


@models_app.command("verify")
def models_verify(
    names: Annotated[
        list[str] | None, typer.Argument(help="By default all that are here.")
    ] = None,
) -> None:
    """Compute the hashes of the models' files anew."""
    from napari_promise.model.weights import MODELS, list_models, verify

    with _arguments():
        for name in names or ():
            if name not in MODELS:
                raise ValueError(
                    f"{name} is no known model: use one of {', '.join(MODELS)}."
                )
    failed = False
    for name in names or [e.info.name for e in list_models() if e.available]:
        try:
            print(f"{name}: {verify(name)} is right")
        except ValueError as error:
            failed = True
            _say(str(error))
    if failed:
        raise typer.Exit(1)


@models_app.command("import")
def models_import(
    file: Annotated[Path, typer.Argument(help="A checkpoint got in another way.")],
) -> None:
    """Take a checkpoint that was downloaded elsewhere; its hash says which it is."""
    from napari_promise.model.weights import import_file

    with _arguments():
        if not file.is_file():
            raise ValueError(f"{file} is no file: check the name.")
    info = import_file(file)
    print(f"{info.name}: imported")


# adapters


@adapters_app.callback()
def _adapters(context: typer.Context) -> None:
    """List the adapters, or manage them."""
    if context.invoked_subcommand is None:
        adapters_list()


@adapters_app.command("list")
def adapters_list() -> None:
    """List the adapters on this computer."""
    from napari_promise.model.adapters import list_adapters, user_dir

    found = list_adapters()
    if not found:
        _say(f"no adapters here: train one, or import one into {user_dir()}.")
        return
    _print_table(
        ("adapter", "base model", "segments", "proposes", "IPS", "licence", "folder"),
        [
            (
                item.info.name,
                item.info.base_model,
                item.info.class_name,
                "no" if item.info.apm == "none" else f"{item.info.points} points",
                "yes" if item.info.ips else "no",
                item.info.licence,
                "bundled" if item.bundled else str(item.path),
            )
            for item in found
        ],
    )


@adapters_app.command("info")
def adapters_info(
    name: Annotated[str, typer.Argument(help="A name or a folder.")],
) -> None:
    """Say everything that an adapter's record holds, as JSON."""
    import json

    from napari_promise.model.adapters import read_info

    with _arguments():
        info = read_info(_adapter_folder(name))
    print(json.dumps(info.to_json(), indent=1))


@adapters_app.command("verify")
def adapters_verify(
    name: Annotated[str, typer.Argument(help="A name or a folder.")],
) -> None:
    """Check that an adapter is whole, and that its base model is the one here."""
    from napari_promise.model.adapters import load_adapter
    from napari_promise.model.weights import MODELS, model_file, sha256_of

    with _arguments():
        folder = _adapter_folder(name)
    info = load_adapter(folder).info
    base = model_file(info.base_model) if info.base_model in MODELS else None
    if base is not None and sha256_of(base) != info.base_sha256:
        raise ValueError(
            f"{info.name} was trained on another {info.base_model} "
            f"({info.base_sha256[:12]}) than the one here ({sha256_of(base)[:12]}): "
            "train it again."
        )
    where = (
        f"its base {info.base_model} is not here" if base is None else "its base too"
    )
    print(f"{info.name}: {folder} is right, {where}")


@adapters_app.command("import")
def adapters_import(
    source: Annotated[
        Path,
        typer.Argument(
            help="An adapter's folder or file (.promise-adapter), or a checkpoint of "
            "ProMISe's authors."
        ),
    ],
    name: Annotated[
        str | None, typer.Option(help="Of the adapter made from a checkpoint.")
    ] = None,
    model: Annotated[
        str, typer.Option("--model", "-m", help="Base model of a checkpoint.")
    ] = "vit_b",
    allow_different_base: Annotated[
        bool,
        typer.Option(
            "--allow-different-base",
            help="Import a checkpoint although its SAM is not the base model's.",
        ),
    ] = False,
    force: ForceOption = False,
) -> None:
    """Take an adapter, or a checkpoint of ProMISe's authors, to where it is found."""
    from napari_promise.model import adapter_files
    from napari_promise.model.adapters import check_free, load_adapter
    from napari_promise.model.import_promise import import_checkpoint

    with _arguments():
        if source.suffix == adapter_files.SUFFIX:
            if name is not None:
                raise ValueError("--name is for checkpoints: an adapter has its own.")
            adapter = adapter_files.read_file(source)
            check_free(adapter.info.name, force=force)
        elif source.is_dir():
            if name is not None:
                raise ValueError("--name is for checkpoints: an adapter has its own.")
            adapter = load_adapter(source)
            check_free(adapter.info.name, force=force)
        elif not source.is_file():
            raise ValueError(
                f"{source} is no folder and no file: give an adapter's folder or a "
                "checkpoint of ProMISe's authors."
            )
        elif name is None:
            raise ValueError(f"give the adapter made from {source} a --name.")
        else:
            check_free(name, force=force)
    if name is not None:
        sam = _segmenter(model, None, "cpu", is_prompted=True).sam
        adapter = import_checkpoint(
            source, sam, name, allow_different_base=allow_different_base
        ).adapter
        _say(f"{adapter.info.name}: {adapter.info.note}")
    print(f"imported: {adapter_files.install(adapter, force=force)}")


@adapters_app.command("export")
def adapters_export(
    name: Annotated[str, typer.Argument(help="A name or a folder.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="File (.promise-adapter) or folder.")
    ] = Path(),
    force: ForceOption = False,
) -> None:
    """Write an adapter as one file, to pass on; import takes it in."""
    from napari_promise.model.adapter_files import export_file

    with _arguments():
        path = export_file(_adapter_folder(name), output, force=force)
    print(f"exported: {path}")


@adapters_app.command("rename")
def adapters_rename(
    name: Annotated[str, typer.Argument(help="The adapter's name.")],
    new: Annotated[str, typer.Argument(help="Its new name.")],
) -> None:
    """Give one of the user's own adapters another name."""
    from napari_promise.model.adapter_files import rename

    with _arguments():
        folder = rename(name, new)
    print(f"renamed: {folder}")


@adapters_app.command("remove")
def adapters_remove(
    name: Annotated[str, typer.Argument(help="The adapter's name.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Remove one of the user's own adapters, after asking."""
    from napari_promise.model.adapter_files import remove

    with _arguments():
        item = _installed(name)
        if item.bundled:
            raise ValueError(
                f"{name} is bundled with napari-promise and cannot be removed."
            )
    if not yes:
        try:
            typer.confirm(f"Remove {item.path}?", abort=True, err=True)
        except typer.Abort:
            raise typer.Exit(
                _fail(f"{name} was kept: confirm, or add --yes.", 1)
            ) from None
    print(f"removed: {remove(item.info.name)}")


def _installed(name: str) -> InstalledAdapter:
    from napari_promise.model.adapters import list_adapters

    found = list_adapters()
    for item in found:
        if name in (item.info.name, item.path.name):
            return item
    known = ", ".join(item.info.name for item in found) or "none"
    raise ValueError(f"{name} is no adapter here: there are {known}.")


def _adapter_folder(name: str) -> Path:
    """Return an adapter's folder: an installed one by name first, as loading does."""
    if Path(name).name == name:
        with contextlib.suppress(ValueError):
            return _installed(name).path
    if Path(name).is_dir():
        return Path(name)
    return _installed(name).path


# What is said, and where


@contextlib.contextmanager
def _arguments() -> Iterator[None]:
    """Turn what a check of arguments raises into exit status 2."""
    try:
        yield
    except (ValueError, FileNotFoundError, NotADirectoryError) as error:
        raise typer.BadParameter(str(error)) from error


def _say(message: str) -> None:
    """Write one line to stderr."""
    print(" ".join(str(message).split()), file=sys.stderr, flush=True)


def _fail(message: str, status: int) -> int:
    # typer puts "Invalid value: " before what this module says in full.
    _say(f"napari-promise: {message.removeprefix('Invalid value: ')}")
    return status


def _naming(path: Path, error: Exception) -> str:
    message = str(error) or type(error).__name__
    return message if str(path) in message else f"{path}: {message}"


def _progress() -> Progress:
    """Return a progress bar on stderr, invisible where nobody looks."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
        redirect_stdout=False,
    )


def _print_table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    """Print a table; plain columns separated by tabs where no person reads it."""
    if not sys.stdout.isatty():
        for row in (header, *rows):
            print("\t".join(row))
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(*header, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*map(escape, row))
    Console().print(table)


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4f}"
    if isinstance(value, list):
        return " ".join(_shown(item) for item in value)
    return str(value)


if __name__ == "__main__":
    sys.exit(main())

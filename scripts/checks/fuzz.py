"""Open a thousand files that are wrong, and count how each of them ends.

Images, masks, prompts, projects, adapters, checkpoints, tables, preferences, caches
and the states of runs are cut, flipped, swapped, given absurd headers, stuffed with
zip bombs and hostile pickles (see `fuzz_cases`), and opened as the program opens them.
Each is to open, or to end in one clear line that names the file, within five seconds
and one gibibyte; what is in a file is never run.

    python -m scripts.checks.fuzz --count 1000 --seed 0 --json fuzz.json

prints a table of kinds and outcomes. Exit status 1 if any case ended otherwise. A case
is opened again, alone and with its traceback, by ``--case "image png" 17``.

Cases run in processes of their own, which are ended where they hang. Seconds are of
the processor, so that a busy machine gives the same table; a case that waits is ended.
Linux only: the memory of a case is the growth of the process's resident set.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import io
import json
import multiprocessing
import os
import re
import resource
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from napari_promise.files import save_json
from scripts.checks.fuzz_cases import KINDS, MARK, make_samples, spoil

__all__ = ["Case", "run", "table"]

SECONDS, BYTES = 5.0, 2**30
#: A process that has not answered after so long is ended.
_PATIENCE = 120.0
#: A line longer than this is not clear any more.
_LONGEST = 600

GOOD = ("opened", "one line")
BAD = ("exception", "unclear", "too slow", "too big", "crashed", "ran code")


@dataclass
class Case:
    """How one case ended.

    Attributes
    ----------
    kind : str
    number : int
        Within its kind; with kind and seed it makes the case again.
    how : str
        What was done to the file.
    outcome : str
        One of `GOOD` or `BAD`.
    line : str
        What was said, or the exception.
    seconds : float
    megabytes : float
        Growth of the resident set at its highest.
    """

    kind: str
    number: int
    how: str = ""
    outcome: str = "crashed"
    line: str = ""
    seconds: float = 0.0
    megabytes: float = 0.0


class _Uncaught(Exception):
    """Something else than one clear line."""


# Opening, as the program does --------------------------------------------------------


def _open_image(path: Path) -> None:
    from napari_promise.data import images

    _each(
        path,
        lambda: images.shape_of(path),
        lambda: images.place_of(path),
        lambda: images.thumbnail(path, 48),
        lambda: _look_at(images.read_image(path)),
    )


def _look_at(opened: Any) -> None:
    _ = opened.layer_options
    rgb = opened.rgb8(opened.first_plane)
    assert rgb.shape == (*opened.shape[-2:], 3), rgb.shape


def _open_mask(path: Path) -> None:
    from napari_promise.data.masks import read_mask

    array = read_mask(path)
    assert array.dtype.kind in "ui", array.dtype


def _open_prompts(path: Path) -> None:
    from napari_promise.data.export import load_prompts
    from napari_promise.document import Document

    found = load_prompts(path)
    document = Document()
    for one in found.objects:
        document.add_saved(_record(one))


def _record(one: Any) -> Any:
    from napari_promise.document import ObjectRecord

    return ObjectRecord(
        one.id, one.plane, one.class_name, one.prompts, one.sources, label=one.label
    )


def _open_project(path: Path) -> None:
    from napari_promise.document import Document
    from napari_promise.project import Project

    with Project.open(path) as project:
        for item in project.items:
            document = Document()
            for call in (
                lambda item=item: project.proposals.records(item.key),
                lambda item=item: project.thumbnail(item.key),
            ):
                with contextlib.suppress(ValueError, OSError):
                    call()
            try:
                labels = project.restore(item.key, document)
            except (ValueError, OSError) as error:
                _check_line(error, path)
                continue
            if labels is not None:
                document.events.labels_patched.connect(
                    lambda patch, labels=labels: patch.apply(labels)
                )
                while document.can_undo:
                    document.undo()
                while document.can_redo:
                    document.redo()
                project.save(item.key, document, labels)
        project.learning.effort()
        project.learning.training_pairs()


def _open_adapter_folder(path: Path) -> None:
    from napari_promise.model.adapters import load_adapter

    load_adapter(path)


def _open_adapter_file(path: Path) -> None:
    from napari_promise.model.adapter_files import read_file

    read_file(path)


def _open_checkpoint(path: Path) -> None:
    from napari_promise.model.sam import load_sam

    load_sam(path)


def _open_table(path: Path) -> None:
    from napari_promise.data.pairs import read_pairs
    from napari_promise.project.finding import find_tabled

    _each(path, lambda: read_pairs(path), lambda: find_tabled(path))


def _open_preferences(path: Path) -> None:
    from napari_promise.preferences import read_preferences, write_preferences
    from napari_promise.session.settings import Settings

    settings = Settings.from_preferences(read_preferences(path))
    write_preferences(path, settings.to_preferences())


def _open_embedding(path: Path) -> None:
    from napari_promise.data.embeddings import EmbeddingCache
    from napari_promise.model.sam import Embedding

    cache = EmbeddingCache(path, memory_bytes=0, disk_bytes=10**7)
    arrays = cache.get(("0" * 32, "micro-000000000000"))
    if arrays is not None:
        with contextlib.suppress(ValueError):  # is encoded anew
            Embedding.from_arrays(arrays)


def _open_view(path: Path) -> None:
    from napari_promise.training.view_cache import ViewCache, view_key

    key = view_key("1" * 64, "plain", "2" * 64, 64, 1)
    cache = ViewCache(path)
    if cache.has(key, ["image"]):
        cache.read(key, "image")
    cache.target(key, "3" * 64)


def _open_run(path: Path) -> None:
    from napari_promise.training.run_state import RunState

    RunState(path, "of this run").load()


def _open_by_command(path: Path) -> None:
    from napari_promise.cli import main

    image, out = path.parent / "image.png", path.parent / "out"
    if not image.exists():
        shutil.copy(path.parents[1] / "samples" / "image.png", image)
    where = ["--output", str(out), "--device", "cpu"]
    arguments = {
        "image.png": ["segment", str(path), "--points", "20,20", *where],
        "image.nii.gz": ["segment", str(path), "--points", "20,20", *where],
        "prompts.json": ["segment", str(image), "--prompts", str(path), *where],
        "small.promise-adapter": ["adapters", "import", str(path)],
        "checkpoint.pth": ["models", "import", str(path)],
    }.get(path.name)
    if arguments is None:  # a mask
        folders = [path.parent / "images", path.parent / "masks"]
        for folder, file in zip(folders, (image, path), strict=True):
            folder.mkdir()
            shutil.copy(file, folder / "one.png")
        arguments = ["evaluate", "--images", str(folders[0]), "--masks"]
        arguments += [str(folders[1]), "--prompts", "box", "--device", "cpu"]
    stdout, stderr = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
        status = main(arguments)
    lines = [line for line in stderr.getvalue().splitlines() if line.strip()]
    if status not in (0, 1, 2):
        raise _Uncaught(f"exit status {status}")
    # How masks were understood is told whatever comes of it.
    lines = [
        line for line in lines if not re.search(r"masks? read as|mask is empty:", line)
    ]
    if status:
        if len(lines) != 1:
            raise _Uncaught(f"{len(lines)} lines: {' | '.join(lines)}"[:400])
        raise ValueError(f"{lines[0]} ({path.name})")


def _each(path: Path, *calls: Callable[[], Any]) -> None:
    """Call all; what any raises is checked, and the last of it raised at the end."""
    last: Exception | None = None
    for call in calls:
        try:
            call()
        except (ValueError, OSError) as error:
            _check_line(error, path)
            last = error
    if last is not None:
        raise last


_OPENERS: dict[str, Callable[[Path], None]] = {
    "image": _open_image,
    "mask": _open_mask,
    "prompts": _open_prompts,
    "project": _open_project,
    "adapter folder": _open_adapter_folder,
    "adapter file": _open_adapter_file,
    "checkpoint": _open_checkpoint,
    "table": _open_table,
    "preferences": _open_preferences,
    "cached embedding": _open_embedding,
    "cached view": _open_view,
    "run state": _open_run,
    "command line": _open_by_command,
}


def _opener(kind: str) -> Callable[[Path], None]:
    return _OPENERS.get(kind) or _OPENERS[kind.partition(" ")[0]]


def _check_line(error: BaseException, path: Path) -> None:
    """Raise `_Uncaught` unless it is one line that names the file."""
    text = str(error)
    if isinstance(error, OSError) and error.errno is not None and error.strerror:
        text = f"{error.strerror} {error.filename or ''}"
    if not text.strip() or "\n" in text.strip() or len(text) > _LONGEST:
        raise _Uncaught(f"{type(error).__name__}, no one line: {text[:300]!r}")
    if path.name not in text and str(path.parent.name) not in text:
        raise _Uncaught(f"{type(error).__name__} does not name the file: {text!r}")


# One process -------------------------------------------------------------------------


def _kilobytes(name: str) -> int:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split(f"{name}:")[1].split()[0])


@contextlib.contextmanager
def _limited() -> Iterator[Callable[[], float]]:
    """Allow no more memory than one gibibyte; gives how much was taken, in MB."""
    gc.collect()
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak: now
    before = _kilobytes("VmRSS")
    limit = 1024 * _kilobytes("VmSize") + BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    try:
        yield lambda: max(0, _kilobytes("VmHWM") - before) / 1024
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))


def _open_case(case: Case, path: Path, root: Path, *, tell: bool = False) -> None:
    """Open what was made, and write into the case how it ended."""
    open_it = _opener(case.kind)
    started = time.process_time()
    with _limited() as taken:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    open_it(path)
                    case.outcome = "opened"
                except (ValueError, OSError) as error:
                    if tell:
                        traceback.print_exc()
                    _check_line(error, path)
                    case.outcome, case.line = "one line", str(error)
        except _Uncaught as error:
            case.outcome, case.line = "unclear", str(error)
        except MemoryError as error:
            case.outcome, case.line = "too big", _where(error)
        except BaseException as error:
            case.outcome, case.line = "exception", _where(error)
            if tell:
                traceback.print_exc()
        case.seconds = time.process_time() - started
        case.megabytes = taken()
    if case.outcome in GOOD:
        if case.seconds > SECONDS:
            case.outcome = "too slow"
        elif case.megabytes * 2**20 > BYTES:
            case.outcome = "too big"
    outside = [root / "outside.txt", root.parent / "outside.txt"]
    for written in (root / MARK, *outside):
        if written.exists():
            case.outcome, case.line = "ran code", f"{written.name} was written"
            written.unlink()


def _where(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f for f in frames if "napari_promise" in f.filename] or frames
    at = f"{Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else "?"
    return f"{type(error).__name__} at {at}: {str(error)[:200]}"


def _settle(root: Path) -> None:
    """Keep the user's own folders out of it, and import what is needed once."""
    os.environ["NAPARI_PROMISE_ADAPTERS"] = str(root / "adapters")
    os.environ["NAPARI_PROMISE_CACHE"] = str(root / "cache")
    os.environ["NAPARI_PROMISE_PREFERENCES"] = str(root / "preferences.json")
    import torch

    torch.set_num_threads(1)
    Path("/proc/self/oom_score_adj").write_text("500", encoding="ascii")


def _work(pipe: Connection, root: Path, seed: int) -> None:
    """Make and open one case after the other, until None comes."""
    # Libraries write warnings of their own there, some of them from C.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    _settle(root)
    for kind in _OPENERS:  # what is imported late, is imported now
        full = next(k for k in KINDS if k.startswith(kind))
        folder = Path(tempfile.mkdtemp(dir=root))
        with contextlib.suppress(Exception):
            _opener(full)(spoil(full, root / "samples", folder, "warm")[0])
        shutil.rmtree(folder, ignore_errors=True)
    for name in ("samples/image.png", "samples/image.tif", "samples/image.nii.gz"):
        _open_image(root / name)
    _open_image(root / "samples" / "image.dcm")
    pipe.send(None)
    while (case := pipe.recv()) is not None:
        folder = Path(tempfile.mkdtemp(dir=root))
        path, case.how = _spoilt(case, root, folder, seed)
        pipe.send(case)  # made: from now on the clock runs
        _open_case(case, path, root)
        shutil.rmtree(folder, ignore_errors=True)
        pipe.send(case)


def _spoilt(case: Case, root: Path, folder: Path, seed: int) -> tuple[Path, str]:
    """Make a case; what the libraries will not write is made in another way."""
    for attempt in range(20):
        name = f"{seed} {case.kind} {case.number} {attempt}"
        try:
            return spoil(case.kind, root / "samples", folder, name)
        except Exception:
            for path in folder.iterdir():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
    raise AssertionError(f"{case.kind} {case.number} cannot be made")


# All of them -------------------------------------------------------------------------


def run(
    count: int,
    seed: int,
    root: Path,
    *,
    kinds: Sequence[str] = KINDS,
    processes: int = 2,
    tell: Callable[[Case], None] = lambda case: None,
) -> list[Case]:
    """Make and open so many cases, spread evenly over the kinds.

    Parameters
    ----------
    count, seed : int
    root : Path
        An empty folder for what is made.
    kinds : sequence of str
    processes : int
    tell : callable
        Called with each case when it has ended.

    Returns
    -------
    list of Case
    """
    make_samples(root / "samples")
    waiting = [
        Case(kinds[number % len(kinds)], number // len(kinds))
        for number in reversed(range(count))
    ]
    done: list[Case] = []
    context = multiprocessing.get_context("spawn")
    workers: dict[Connection, tuple[Any, Case | None, float]] = {}

    def start() -> None:
        ours, theirs = context.Pipe()
        process = context.Process(target=_work, args=(theirs, root, seed))
        process.start()
        theirs.close()
        workers[ours] = process, None, time.monotonic() + 600

    def end(case: Case) -> None:
        done.append(case)
        tell(case)

    def stop(pipe: Connection, outcome: str) -> None:
        process, case, _ = workers.pop(pipe)
        process.kill()
        process.join()
        pipe.close()
        if case is None:
            raise RuntimeError("a process of the fuzz run did not begin")
        case.outcome = outcome
        case.line = case.line or f"exit code {process.exitcode}"
        if outcome == "too slow":
            case.seconds = _PATIENCE
        end(case)
        if waiting:
            start()

    for _ in range(min(processes, len(waiting))):
        start()
    while workers:
        for pipe in wait(list(workers), timeout=1):
            assert isinstance(pipe, Connection)
            process, case, _ = workers[pipe]
            try:
                answer = pipe.recv()
            except (EOFError, OSError):
                stop(pipe, "crashed")
                continue
            if answer is not None and answer.outcome == "crashed":  # just made
                workers[pipe] = process, answer, time.monotonic() + _PATIENCE
                continue
            if answer is not None:
                end(answer)
            following = waiting.pop() if waiting else None
            pipe.send(following)
            if following is None:
                process.join()
                del workers[pipe]
            else:
                workers[pipe] = process, following, time.monotonic() + 600
        now = time.monotonic()
        for pipe in [p for p, (*_, due) in workers.items() if now > due]:
            stop(pipe, "too slow")
    return done


def table(cases: Sequence[Case]) -> str:
    """Return kinds by outcomes as a table in Markdown."""
    columns = (*GOOD, *BAD)
    head = ("kind", "cases", *columns, "longest", "most memory")
    rows = [head, ("---",) + ("---:",) * (len(head) - 1)]
    groups = [(kind, [c for c in cases if c.kind == kind]) for kind in KINDS]
    for name, found in (*groups, ("**all**", list(cases))):
        if not found:
            continue
        counts = Counter(case.outcome for case in found)
        rows.append(
            (
                name,
                str(len(found)),
                *(str(counts[column]) for column in columns),
                f"{max(case.seconds for case in found):.1f} s",
                f"{max(case.megabytes for case in found):.0f} MB",
            )
        )
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _write(page: Path, found: str, count: int, seed: int) -> None:
    """Put the table where a page has its place."""
    head, rest = page.read_text(encoding="utf-8").split("<!-- fuzz: begin -->")
    tail = rest.split("<!-- fuzz: end -->")[1]
    about = f"{count} cases, seed {seed}:"
    page.write_text(
        f"{head}<!-- fuzz: begin -->\n\n{about}\n\n{found}\n\n<!-- fuzz: end -->{tail}",
        encoding="utf-8",
    )


def _again(kind: str, number: int, seed: int) -> None:
    """Open one case in this process, telling all."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        make_samples(root / "samples")
        _settle(root)
        folder = root / "case"
        folder.mkdir()
        case = Case(kind, number)
        path, case.how = _spoilt(case, root, folder, seed)
        _open_case(case, path, root, tell=True)
        print(case)


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", action="append", choices=KINDS)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--json", type=Path, help="write every case there")
    parser.add_argument("--write", type=Path, help="a page with a place for the table")
    parser.add_argument("--case", nargs=2, metavar=("KIND", "NUMBER"))
    options = parser.parse_args()
    if options.case:
        _again(options.case[0], int(options.case[1]), options.seed)
        return 0

    ended = 0

    def tell(case: Case) -> None:
        nonlocal ended
        ended += 1
        if ended % 100 == 0:
            print(f"{ended} cases", file=sys.stderr, flush=True)
        if case.outcome in BAD:
            print(f"{case.kind} {case.number} ({case.how}): {case.outcome}", end=": ")
            print(case.line, file=sys.stdout, flush=True)

    with tempfile.TemporaryDirectory() as name:
        cases = run(
            options.count,
            options.seed,
            Path(name),
            kinds=options.kind or KINDS,
            processes=options.processes,
            tell=tell,
        )
    if options.json:
        found = sorted((asdict(case) for case in cases), key=json.dumps)
        save_json(options.json, {"seed": options.seed, "cases": found}, overwrite=True)
    print(table(cases))
    if options.write:
        _write(options.write, table(cases), len(cases), options.seed)
    return int(any(case.outcome in BAD for case in cases))


if __name__ == "__main__":
    sys.exit(main())

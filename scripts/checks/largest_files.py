"""Print the largest files of the package, by their lines of code.

    python -m scripts.checks.largest_files            as it stands here
    python -m scripts.checks.largest_files REVISION   as it was there
    python -m scripts.checks.largest_files A B        both, side by side

Code is what remains without blank lines, comments and docstrings; behind it stand all
lines of the file.
"""

from __future__ import annotations

import argparse
import ast
import io
import subprocess
import tokenize
from itertools import zip_longest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "napari_promise"
_SILENT = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
    tokenize.ENCODING,
}


def code_lines(source: str) -> int:
    """Return how many lines of `source` hold code."""
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in _SILENT:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        # A string that stands alone is documentation: of a module, class or attribute.
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            if isinstance(node.value.value, str):
                lines -= set(range(node.lineno, (node.end_lineno or 0) + 1))
    return len(lines)


def _git(*arguments: str) -> str:
    return subprocess.run(
        ["git", *arguments], cwd=ROOT, check=True, capture_output=True, encoding="utf-8"
    ).stdout


def sources(revision: str | None) -> dict[str, str]:
    """Return the package's files by name, of the working tree where none is given."""
    if revision is None:
        paths = sorted((ROOT / PACKAGE).rglob("*.py"))
        return {
            path.relative_to(ROOT / PACKAGE).as_posix(): path.read_text("utf-8")
            for path in paths
        }
    names = _git("ls-tree", "-r", "--name-only", revision, f"{PACKAGE}/").splitlines()
    return {
        name.removeprefix(f"{PACKAGE}/"): _git("show", f"{revision}:{name}")
        for name in names
        if name.endswith(".py")
    }


def largest(files: dict[str, str], most: int) -> list[str]:
    """Return a row for each of the `most` largest of `files`, and one of all."""
    sizes = [
        (code_lines(source), source.count("\n"), name) for name, source in files.items()
    ]
    code, lines = (sum(size[column] for size in sizes) for column in (0, 1))
    rows = [f"{c:5} {n:5}  {name}" for c, n, name in sorted(sizes, reverse=True)[:most]]
    return [*rows, f"{code:5} {lines:5}  in all {len(sizes)} files"]


def main() -> None:
    """Print the table of the revisions that the arguments name."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("revisions", nargs="*", help="of git; none: as it stands here")
    parser.add_argument("--most", type=int, default=20, help="rows (20)")
    arguments = parser.parse_args()
    revisions: list[str | None] = [*arguments.revisions] or [None]
    columns = [
        [f"{revision or 'working tree'}: code, lines, file"]
        + largest(sources(revision), arguments.most)
        for revision in revisions
    ]
    for row in zip_longest(*columns, fillvalue=""):
        print("  |  ".join(f"{cell:46}" for cell in row).rstrip())


if __name__ == "__main__":
    main()

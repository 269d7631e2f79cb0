"""What counts as a line of code."""

from __future__ import annotations

from scripts.checks.largest_files import code_lines, largest

SOURCE = '''"""What it is for."""

# why
import os

VALUE = """told
over two lines"""
#: documented
"""Of the value."""


def work() -> str:
    """Do it."""
    return VALUE + os.sep  # and why
'''


def test_docstrings_comments_and_blank_lines_are_no_code() -> None:
    assert code_lines(SOURCE) == 5


def test_the_largest_come_first_and_the_sum_is_of_all() -> None:
    rows = largest({"small.py": "a = 1\n", "large.py": SOURCE}, 1)
    assert [row.split() for row in rows] == [
        ["5", "14", "large.py"],
        ["6", "15", "in", "all", "2", "files"],
    ]

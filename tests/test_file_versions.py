"""Files say which version they are of, and a later one is refused with its writer."""

from __future__ import annotations

import pytest

from napari_promise import __version__
from napari_promise.files import NewerFileError, check_version, written_by


def test_a_file_says_which_version_of_the_program_wrote_it():
    assert written_by() == f"napari-promise {__version__}"


@pytest.mark.parametrize("version", [1, 2, 3])
def test_every_version_up_to_the_newest_that_is_known_is_read(version):
    assert check_version({"version": version}, 3, "x.json") == version


def test_a_later_version_is_refused_with_its_writer_and_the_remedy():
    data = {"version": 4, "written_by": "napari-promise 7.1"}
    with pytest.raises(NewerFileError) as raised:
        check_version(data, 3, "x.json")
    line = str(raised.value)
    assert line.startswith("x.json was written by napari-promise 7.1 in version 4")
    assert line.endswith("reads up to version 3: update napari-promise.")
    assert "\n" not in line


@pytest.mark.parametrize("writer", [None, "", 7])
def test_a_later_version_is_refused_though_it_does_not_say_who_wrote_it(writer):
    with pytest.raises(NewerFileError, match="by a later napari-promise"):
        check_version({"version": 4, "written_by": writer}, 3, "x.json")


@pytest.mark.parametrize("version", [None, "1", 0, -1, 1.5, True])
def test_what_is_no_version_is_damage(version):
    with pytest.raises(ValueError, match="where its version should be") as raised:
        check_version({"version": version}, 3, "x.json")
    assert not isinstance(raised.value, NewerFileError)

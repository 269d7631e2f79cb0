import numpy as np
import pytest
import tifffile

from napari_promise.data.tracks import napari_tracks, save_tracks, track_table


@pytest.fixture
def labels():
    """Track 1 divides at moment 2 into 3 and 4; track 2 lives through."""
    found = np.zeros((4, 12, 12), np.int32)
    found[:2, 2:6, 2:6] = 1
    found[:, 8:11, 8:11] = 2
    found[2:, 2:4, 2:4] = 3
    found[2:, 2:4, 6:8] = 4
    return found


PARENTS = {3: 1, 4: 1}


def test_each_track_has_its_life_and_its_parent(labels):
    rows = track_table(labels, PARENTS).tolist()
    assert rows == [[1, 0, 1, 0], [2, 0, 3, 0], [3, 2, 3, 1], [4, 2, 3, 1]]


def test_a_parent_that_lives_on_is_refused(labels):
    with pytest.raises(ValueError, match="end the parent where it divides"):
        track_table(labels, {3: 2})


def test_masks_and_table_are_written_as_the_challenge_has_them(labels, tmp_path):
    path = save_tracks(tmp_path / "01_RES", labels, PARENTS)
    assert path.read_text().splitlines()[2] == "3 2 3 1"
    frames = sorted((tmp_path / "01_RES").glob("mask*.tif"))
    assert [f.name for f in frames][:2] == ["mask000.tif", "mask001.tif"]
    assert np.array_equal([tifffile.imread(f) for f in frames], labels)


def test_a_track_that_is_interrupted_continues_as_its_daughter(labels, tmp_path):
    labels[1][labels[1] == 2] = 0
    path = save_tracks(tmp_path / "out", labels, PARENTS)
    assert path.read_text().splitlines()[-1] == "5 2 3 2"
    assert (tifffile.imread(tmp_path / "out" / "mask003.tif") == 5).sum() == 9


def test_a_folder_that_holds_something_is_left_alone(labels, tmp_path):
    (tmp_path / "mine.txt").write_text("work")
    with pytest.raises(ValueError, match="not empty"):
        save_tracks(tmp_path, labels)


def test_napari_gets_centroids_and_parents(labels):
    data, graph = napari_tracks(labels, PARENTS)
    assert data[0].tolist() == [1, 0, 3.5, 3.5]
    assert len(data) == 2 + 4 + 2 + 2
    assert graph == {3: [1], 4: [1]}


def test_no_track_is_an_empty_table():
    assert track_table(np.zeros((2, 4, 4), int)).shape == (0, 4)

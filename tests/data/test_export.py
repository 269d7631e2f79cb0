"""What holds for every writer."""

import pytest

from napari_promise.data.export import save_coco, save_labels, save_prompts
from tests.folders import left_in

SUFFIXES = [".tif", ".png", ".npy", ".nii", ".nii.gz"]


def writers(tmp_path, labels):
    for suffix in SUFFIXES:
        path = tmp_path / f"labels{suffix}"
        yield path, lambda p=path, **k: save_labels(p, labels, **k)
    path = tmp_path / "coco.json"
    yield path, lambda p=path, **k: save_coco(p, labels, **k)
    path = tmp_path / "prompts.json"
    yield path, lambda p=path, **k: save_prompts(p, [], **k)


def test_an_existing_file_is_replaced_only_when_allowed(tmp_path, labels):
    for path, write in writers(tmp_path, labels):
        path.write_text("earlier")
        with pytest.raises(FileExistsError, match="exists already") as error:
            write()
        assert str(path) in str(error.value)
        assert path.read_text() == "earlier"
        write(overwrite=True)
        assert path.read_bytes() != b"earlier"
        path.unlink()
    assert left_in(tmp_path) == ["categories.json"]  # the classes keep their numbers

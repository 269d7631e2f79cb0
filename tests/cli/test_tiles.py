"""Parts of images, and images beyond memory, on the command line."""

from __future__ import annotations

import numpy as np
import zarr
from PIL import Image

from napari_promise.data.export import load_prompts
from napari_promise.data.images import read_mask
from napari_promise.data.pyramids import open_pyramid
from napari_promise.prompts import Prompts
from napari_promise.segmenter import Segmenter
from tests.cli.running import one_line, run


def test_a_region_is_what_the_model_sees(picture, encoded, micro_sam, tmp_path) -> None:
    out = tmp_path / "out"
    command = ("segment", picture, "-o", out, "--points", "20,30")
    assert run(*command, "--region", "5,10,37,50", "--no-cache") == 0
    segmenter = Segmenter(micro_sam)
    embedding = segmenter.encode(
        np.asarray(Image.open(picture)), region=(5, 10, 37, 50)
    )
    expected = segmenter.segment(embedding, Prompts(points=[(20, 30)])).mask
    assert np.array_equal(read_mask(out / "frame.png") > 0, expected)
    (saved,) = load_prompts(out / "frame.prompts.json").objects
    assert saved.tile == (5, 10, 37, 50)


def test_prompts_of_a_region_replay_to_the_same_mask(
    picture, encoded, tmp_path
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    run(
        *("segment", picture, "-o", first, "--points", "20,30"),
        *("--region", "5,10,37,50"),
    )
    run("segment", picture, "-o", second, "--prompts", first / "frame.prompts.json")
    assert (first / "frame.png").read_bytes() == (second / "frame.png").read_bytes()
    assert load_prompts(second / "frame.prompts.json").objects[0].tile is not None


def test_a_region_that_leaves_the_image_fails_it_in_one_line(
    picture, encoded, tmp_path, capsys
) -> None:
    command = ("segment", picture, "-o", tmp_path / "out", "--points", "20,30")
    assert run(*command, "--region", "5,10,37,500") == 1
    assert "leaves the image of 40 rows and 60 columns" in one_line(capsys)


def test_a_region_that_cannot_be_read_is_refused(picture, tmp_path, capsys) -> None:
    command = ("segment", picture, "-o", tmp_path / "out", "--points", "20,30")
    for wrong in ("1,2,3", "9,9,3,3", "1.5,2,3,4"):
        assert run(*command, "--region", wrong) == 2
    assert run(*command, "--tiles", "many") == 2
    assert run(*command, "--tiles", "auto", "--region", "1,2,3,4") == 2
    assert not (tmp_path / "out").exists()
    capsys.readouterr()


def test_with_tiles_auto_a_small_object_is_seen_enlarged(encoded, tmp_path) -> None:
    image = np.full((400, 600, 3), 60, np.uint8)
    image[200:220, 300:320] = 220
    path = tmp_path / "small.png"
    Image.fromarray(image).save(path)
    out = tmp_path / "out"
    command = ("segment", path, "-o", out, "--box", "200,300,220,320")
    assert run(*command, "--tiles", "auto", "--no-cache") == 0
    assert encoded[0].shape[:2] == (128, 128)
    again = tmp_path / "again"
    run("segment", path, "-o", again, "--prompts", out / "small.prompts.json")
    assert (out / "small.png").read_bytes() == (again / "small.png").read_bytes()


def test_a_pyramid_is_read_by_tile_and_its_labels_are_one(encoded, tmp_path) -> None:
    path = tmp_path / "slide.zarr"
    side = 4096
    group = zarr.open_group(path, mode="w", zarr_format=2)
    for level, step in enumerate((1, 4)):
        made = group.create_array(
            str(level),
            shape=(side // step, side // step),
            chunks=(512, 512),
            dtype="uint8",
            chunk_key_encoding={"name": "v2", "separator": "/"},
        )
        made[1000 // step : 1060 // step, 2000 // step : 2060 // step] = 200
    group.attrs["multiscales"] = [
        {
            "version": "0.4",
            "axes": [{"name": n, "type": "space"} for n in "yx"],
            "datasets": [
                {
                    "path": str(level),
                    "coordinateTransformations": [
                        {"type": "scale", "scale": [step, step]}
                    ],
                }
                for level, step in enumerate((1, 4))
            ],
        }
    ]
    out = tmp_path / "out"
    command = ("segment", path, "-o", out, "--box", "1000,2000,1060,2060")
    assert run(*command, "--tiles", "auto", "--no-cache") == 0
    assert encoded[0].shape[:2] == (256, 256)
    assert max(max(part.shape[:2]) for part in encoded) < side
    (saved,) = load_prompts(out / "slide.prompts.json").objects
    assert saved.prompts.boxes.tolist() == [[1000, 2000, 1060, 2060]]
    labels = open_pyramid(out / "slide.zarr")
    assert labels.shape == (side, side)
    assert set(np.unique(np.asarray(labels.levels[-1]))) <= {0, 1}

"""Files that claim too much, or nest without end, are refused in one line."""

from __future__ import annotations

import base64
import json
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from napari_promise.data import formats
from napari_promise.data.images import read_image, shape_of, thumbnail
from napari_promise.data.prompts_file import load_prompts

PROMPTS_0_1 = Path(__file__).parents[1] / "fixtures" / "v0_1_prompts.json"


@pytest.fixture
def huge_picture(tmp_path) -> Path:
    """Return a PNG that claims 70,000 by 70,000 pixels."""
    path = tmp_path / "a.png"
    Image.new("L", (4, 4)).save(path)
    content = path.read_bytes()
    head = b"IHDR" + struct.pack(">II", 70_000, 70_000) + content[24:29]
    check = struct.pack(">I", zlib.crc32(head))
    path.write_bytes(content[:12] + head + check + content[33:])
    return path


@pytest.mark.parametrize("read", [read_image, shape_of, lambda p: thumbnail(p, 40)])
def test_a_picture_over_pillows_limit_is_refused_with_a_way_on(huge_picture, read):
    with pytest.raises(ValueError, match=r"a\.png has 70000 x 70000 .* as TIFF"):
        read(huge_picture)


def test_a_large_picture_below_the_limit_opens_without_a_warning(
    tmp_path, monkeypatch, recwarn
):
    Image.new("L", (40, 30)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    assert read_image(tmp_path / "a.png").shape == (30, 40)
    assert not recwarn.list


def test_what_needs_more_memory_than_there_is_is_named(tmp_path):
    def allocate() -> None:
        raise MemoryError

    (tmp_path / "a.npy").touch()
    with pytest.raises(ValueError, match=r"a\.npy needs more memory than there is"):
        formats.told(tmp_path / "a.npy", allocate)


def test_an_array_of_terabytes_that_is_not_there_is_refused(tmp_path):
    text = repr({"descr": "<f8", "fortran_order": False, "shape": (10**6, 10**6)})
    head = b"\x93NUMPY\x02\x00" + struct.pack("<I", len(text) + 1)
    (tmp_path / "a.npy").write_bytes(head + text.encode() + b"\n")
    with pytest.raises(ValueError, match=r"a\.npy "):
        read_image(tmp_path / "a.npy")


def test_prompts_nested_without_end_are_refused(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("[" * 200_000 + "]" * 200_000)
    with pytest.raises(ValueError, match=r"a\.json is no prompts file"):
        load_prompts(path)


def test_a_mask_among_prompts_unpacks_to_no_more_than_its_shape(tmp_path):
    data = json.loads(PROMPTS_0_1.read_text(encoding="utf-8"))
    bomb = base64.b64encode(zlib.compress(bytes(10**7))).decode()
    data["objects"][0]["prompts"]["mask"] = {"shape": [8, 8], "bits": bomb}
    (tmp_path / "a.json").write_text(json.dumps(data))
    mask = load_prompts(tmp_path / "a.json").objects[0].prompts.mask
    assert mask is not None
    assert np.array_equal(mask, np.zeros((8, 8), bool))


def test_prompts_whose_mask_is_cut_off_are_refused(tmp_path):
    data = json.loads(PROMPTS_0_1.read_text(encoding="utf-8"))
    few = base64.b64encode(zlib.compress(bytes(3))).decode()
    data["objects"][0]["prompts"]["mask"] = {"shape": [8, 8], "bits": few}
    (tmp_path / "a.json").write_text(json.dumps(data))
    with pytest.raises(ValueError, match=r"a\.json is damaged"):
        load_prompts(tmp_path / "a.json")

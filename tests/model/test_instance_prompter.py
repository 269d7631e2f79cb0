import numpy as np
import pytest
import torch

from napari_promise.model.adapters import (
    Adapter,
    AdapterInfo,
    load_adapter,
    save_adapter,
)
from napari_promise.model.instance_prompter import (
    InstanceAPM,
    InstanceMaps,
    find_objects,
    maps_of,
    watershed,
)
from napari_promise.model.sam import Embedding

GRID = 32


def embedding(height: int = 64, width: int = 128, **changes: object) -> Embedding:
    values = {
        "image": torch.zeros(1, 4, 16, 16),
        "levels": (),
        "input_size": (64, 128),
        "original_size": (height, width),
        "model_id": "model",
    }
    return Embedding(**values | changes)  # type: ignore[arg-type]


def maps_with(*peaks: tuple[int, int, float]) -> InstanceMaps:
    centre = np.zeros((16, 32), np.float32)
    foreground, depth = centre.copy(), centre.copy()
    sides = np.full((4, 16, 32), 2, np.float32)
    for row, column, height in peaks:
        centre[row, column] = height
        foreground[row - 1 : row + 2, column - 1 : column + 2] = 1
        depth[row - 1 : row + 2, column - 1 : column + 2] = 0.3
        depth[row, column] = 1
    return InstanceMaps(centre, foreground, depth, sides)


@pytest.mark.parametrize(
    ("levels", "neck", "detail"),
    [
        ([(192, 32), (192, 32)], (128, 64), 48),  # promise-tiny
        ([(768, 64)] * 3, (256, 64), 0),  # SAM ViT-B
        ([(1024, 64)] * 3, (256, 64), 0),  # ViT-L
        ([(1280, 64)] * 3, (256, 64), 0),  # ViT-H
    ],
)
def test_it_reads_the_features_of_every_base(
    levels: list[tuple[int, int]], neck: tuple[int, int], detail: int
) -> None:
    module = InstanceAPM([c for c, _ in levels], neck[0], detail, width=12)
    tokens = [torch.randn(1, c, side, side) for c, side in levels]
    image = torch.randn(1, neck[0], neck[1], neck[1])
    stem = torch.randn(1, detail, 128, 128) if detail else None
    drawn = module(tokens, image, stem)
    assert drawn.shape == (1, 7, 128, 128)
    drawn.sum().backward()
    assert all(p.grad is not None for p in module.parameters())


def test_it_draws_without_the_detail_that_earlier_embeddings_lack() -> None:
    module = InstanceAPM([8], 4, 6, width=12).eval()
    drawn = module([torch.randn(1, 8, 8, 8)], torch.randn(1, 4, 16, 16))
    assert drawn.shape == (1, 7, 32, 32)


def test_a_peak_becomes_a_point_and_a_box_in_the_pixels_of_the_plane() -> None:
    emb = embedding(128, 256, origin=(10, 20), plane_shape=(500, 500))
    found = find_objects(maps_with((4, 6, 0.9), (10, 20, 0.6)), emb, 0.5)
    # a cell is 8 x 8 pixels of the plane
    assert found.scores == pytest.approx([0.9, 0.6])
    assert found.points_xy[0] == pytest.approx([6.5 * 8 - 0.5 + 20, 4.5 * 8 - 0.5 + 10])
    x0, y0, x1, y1 = found.boxes_xy[0]
    assert (x1 - x0, y1 - y0) == pytest.approx((32, 32), abs=0.1)
    assert ((x0 + x1) / 2, (y0 + y1) / 2) == pytest.approx(
        tuple(found.points_xy[0]), abs=0.1
    )


def test_peaks_below_the_threshold_are_no_objects() -> None:
    assert len(find_objects(maps_with((4, 6, 0.3)), embedding(), 0.5)) == 0


def test_sides_about_which_cells_disagree_are_spread_far() -> None:
    even, odd = maps_with((4, 6, 0.5)), maps_with((4, 6, 0.5))
    for maps in (even, odd):
        maps.centre[3:6, 5:8] = 0.4
        maps.centre[4, 6] = 0.5
        y, x = np.mgrid[:16, :32] + 0.5
        box = (4, 2, 9, 7)
        maps.sides[:] = np.stack([x - box[0], y - box[1], box[2] - x, box[3] - y])
    odd.sides[:, 4, 5] += 3
    at = embedding()
    assert find_objects(even, at, 0.45).spread[0] == pytest.approx(0, abs=1e-5)
    assert find_objects(odd, at, 0.45).spread[0] > 0.1


def test_further_blocks_begin_as_nothing_and_are_all_that_may_be_missing() -> None:
    shallow = InstanceAPM([8], 4, 6, width=12).eval()
    deep = InstanceAPM([8], 4, 6, width=12, blocks=2).eval()
    assert not shallow.further_blocks()
    deep.load_state_dict(deep.further_blocks() | shallow.state_dict())
    seen = [torch.randn(1, 8, 8, 8)], torch.randn(1, 4, 16, 16)
    torch.testing.assert_close(deep(*seen), shallow(*seen))
    without_detail = InstanceAPM([8], 4, width=12).state_dict()
    with pytest.raises(RuntimeError, match="detail"):
        deep.load_state_dict(deep.further_blocks() | without_detail)


def test_the_padding_of_the_frame_is_cut_off() -> None:
    maps = maps_of(torch.zeros(7, GRID, GRID), embedding())
    assert maps.centre.shape == (16, 32)
    assert maps.sides.shape == (4, 16, 32)


def test_the_watershed_parts_objects_in_the_order_of_their_centres() -> None:
    maps = maps_with((4, 6, 0.6), (4, 9, 0.9))
    labels = watershed(maps, embedding(128, 256), 0.5)
    assert labels.shape == (128, 256)
    assert labels[4 * 8 + 4, 9 * 8 + 4] == 1
    assert labels[4 * 8 + 4, 6 * 8 + 4] == 2
    assert labels[100, 200] == 0


def test_an_adapter_of_many_objects_is_written_and_read(tmp_path: object) -> None:
    module = InstanceAPM([8], 4, 6, width=12, threshold=0.4, trust=0.2).eval()
    info = AdapterInfo("many", "model", "", apm="instances", points=1, ips=False)
    save_adapter(Adapter(info, module), f"{tmp_path}/many")
    found = load_adapter(f"{tmp_path}/many").apm
    assert isinstance(found, InstanceAPM)
    assert (found.threshold, found.trust) == (0.4, 0.2)
    tokens, image = [torch.randn(1, 8, 8, 8)], torch.randn(1, 4, 16, 16)
    torch.testing.assert_close(
        found(tokens, image), module(tokens, image), rtol=0.02, atol=0.02
    )

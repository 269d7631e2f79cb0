"""What SAM sees of every kind of image."""

import tracemalloc

import numpy as np
import pytest

from napari_promise.data.planes import digest, robust_limits, to_rgb8


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def grey(values, *args, **kwargs) -> np.ndarray:
    """Return the one channel that a grey plane becomes three times."""
    result = to_rgb8(values, *args, **kwargs)
    assert result.dtype == np.uint8
    assert result.flags.c_contiguous
    assert (result == result[..., :1]).all()
    return result[..., 0]


def test_uint8_rgb_passes_unchanged_bit_for_bit(rng):
    image = rng.integers(0, 256, (20, 30, 3), np.uint8)
    assert np.array_equal(to_rgb8(image), image)
    assert np.array_equal(to_rgb8(image, (0, 255)), image)


def test_uint8_grey_keeps_its_values(rng):
    image = rng.integers(50, 60, (20, 30), np.uint8)
    assert np.array_equal(grey(image), image)


def test_contrast_limits_map_linearly_and_clip():
    image = np.array([[50, 100, 150, 200, 250]], np.uint16)
    assert grey(image, (100, 200)).tolist() == [[0, 0, 128, 255, 255]]


@pytest.mark.parametrize(
    "dtype", ["u1", "i2", "u2", "i4", "u4", "i8", "f2", "f4", "f8"]
)
def test_every_type_maps_alike_under_the_same_limits(dtype):
    image = np.arange(0, 101, 5).reshape(3, 7)
    expected = np.floor(np.clip((image - 10) / 80, 0, 1) * 255 + 0.5)
    difference = grey(image.astype(dtype), (10, 90)).astype(int) - expected
    assert np.abs(difference).max() <= (1 if dtype == "f2" else 0)


def test_contrast_limits_apply_to_rgb_too():
    image = np.array([[[0, 50, 100]]], np.uint8)
    assert to_rgb8(image, (0, 100)).tolist() == [[[0, 128, 255]]]


def test_equal_limits_split_the_plane_instead_of_dividing_by_zero():
    image = np.array([[1.0, 2.0, 3.0, np.inf]])
    assert grey(image, (2, 2)).tolist() == [[0, 0, 255, 0]]


@pytest.mark.parametrize("limits", [(5, 1), (np.nan, 1), (0, np.inf), (1, 2, 3), "ab"])
def test_impossible_limits_are_refused(limits):
    with pytest.raises(ValueError, match="Contrast limits must be"):
        to_rgb8(np.zeros((4, 4)), limits)


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32, np.float64])
def test_one_hot_pixel_does_not_flatten_the_plane(rng, dtype):
    image = rng.integers(100, 200, (64, 64)).astype(dtype)
    image[5, 5] = 65535
    cold = np.delete(grey(image).reshape(-1), 5 * 64 + 5)
    assert cold.max() - cold.min() > 250


def test_one_hot_pixel_does_not_flatten_even_a_tiny_plane():
    image = np.arange(100, dtype=np.float32).reshape(10, 10)
    image[9, 9] = 1e6
    assert grey(image)[5, 5] > 120


def test_a_few_bright_pixels_on_an_even_ground_stay_visible():
    image = np.zeros((200, 200), np.uint16)
    image[10, 10:13] = 900
    assert grey(image)[10, 11] == 255
    assert robust_limits(image) == (0.0, 900.0)


def test_nan_and_infinities_become_background():
    image = np.linspace(1, 2, 100).reshape(10, 10)
    image[0, :3] = np.nan, np.inf, -np.inf
    result = grey(image)
    assert result[0, :3].tolist() == [0, 0, 0]
    assert result[9, 9] == 255


def test_a_plane_without_any_finite_value_is_black():
    assert not grey(np.full((4, 5), np.nan)).any()


@pytest.mark.parametrize("value", [0, 7, -3, 1e30])
def test_a_constant_plane_is_black(value):
    assert not grey(np.full((4, 5), value, np.float64)).any()


def test_the_widest_floats_do_not_overflow():
    image = np.array([[-1.7e308, 0.0, 1.7e308]])
    assert grey(image, (-1.7e308, 1.7e308)).tolist() == [[0, 128, 255]]


def test_bool_becomes_black_and_white():
    assert grey(np.array([[True, False]])).tolist() == [[255, 0]]
    assert grey(np.array([[True, True]])).tolist() == [[255, 255]]


def test_float_rgb_within_0_and_1_is_not_stretched():
    image = np.full((4, 4, 3), (0.2, 0.4, 0.6), np.float32)
    assert to_rgb8(image)[0, 0].tolist() == [51, 102, 153]


def test_stretching_rgb_keeps_the_order_of_its_channels(rng):
    image = rng.integers(0, 1000, (32, 32, 3)).astype(np.uint16)
    image[..., 2] *= 4
    result = to_rgb8(image)
    assert result[..., 2].mean() > 2 * result[..., 0].mean()


def test_alpha_is_composited_on_black():
    image = np.zeros((1, 3, 4), np.uint8)
    image[..., :3] = 200
    image[0, :, 3] = 255, 128, 0
    assert to_rgb8(image)[0, :, 0].tolist() == [200, 100, 0]


def test_opaque_rgba_equals_rgb(rng):
    rgb = rng.integers(0, 256, (9, 8, 3), np.uint8)
    opaque = np.dstack([rgb, np.full((9, 8), 255, np.uint8)])
    assert np.array_equal(to_rgb8(opaque), rgb)
    as_float = opaque.astype(np.float32) / 255
    assert np.array_equal(to_rgb8(as_float), rgb)


def test_contrast_limits_leave_alpha_alone():
    image = np.full((1, 1, 4), 100, np.uint8)
    image[..., 3] = 255
    assert to_rgb8(image, (0, 100))[0, 0].tolist() == [255, 255, 255]


def test_a_single_channel_axis_is_dropped():
    image = np.arange(6, dtype=np.uint8).reshape(2, 3, 1)
    assert np.array_equal(grey(image), image[..., 0])


def test_big_endian_and_strided_arrays_are_read_rightly(rng):
    image = rng.integers(0, 4096, (40, 60)).astype(np.uint16)
    assert np.array_equal(to_rgb8(image.astype(">u2")), to_rgb8(image))
    assert np.array_equal(to_rgb8(image[::-1, ::2]), to_rgb8(image[::-1, ::2].copy()))


@pytest.mark.parametrize(
    ("image", "rgb", "message"),
    [
        (np.zeros((4, 4), complex), None, "magnitude"),
        (np.array([["a"]]), None, "convert it to integers"),
        (np.zeros(5), None, "rows and columns"),
        (np.float32(1), None, "rows and columns"),
        (np.zeros((0, 5)), None, "empty"),
        (np.zeros((3, 40, 50)), None, "not one plane"),
        (np.zeros((2, 3, 40, 50)), None, "not one plane"),
        (np.zeros((40, 50, 3)), False, "not one plane"),
        (np.zeros((3, 40, 50)), True, "channels last"),
        (np.zeros((40, 50)), True, "channels last"),
    ],
)
def test_what_is_no_plane_is_refused_with_a_remedy(image, rgb, message):
    with pytest.raises(ValueError, match=message):
        to_rgb8(image, rgb=rgb)


def test_lists_are_images_too():
    assert grey([[0, 1], [2, 3]], (0, 3)).tolist() == [[0, 85], [170, 255]]


def test_of_a_dask_stack_the_plane_that_is_asked_for_is_computed():
    dask_array = pytest.importorskip("dask.array")
    computed = []

    def load(block, block_info=None):
        computed.append(block_info[0]["chunk-location"])
        return block

    stack = dask_array.zeros((5, 8, 9), chunks=(1, 8, 9)).map_blocks(load, dtype=float)
    computed.clear()
    assert to_rgb8(stack[3]).shape == (8, 9, 3)
    assert computed == [(3, 0, 0)]


def test_the_digest_follows_pixels_and_shape(rng):
    image = rng.integers(0, 256, (6, 8, 3), np.uint8)
    other = image.copy()
    other[0, 0, 0] ^= 1
    assert digest(image) == digest(image.copy())
    assert digest(image) == digest(np.asfortranarray(image))
    assert digest(image) != digest(other)
    assert digest(image) != digest(image.reshape(8, 6, 3))


def test_the_digest_is_the_same_everywhere():
    assert digest(np.zeros((2, 2, 3), np.uint8)) == "f7d9f4f358901f65f3a816afe78a3250"


class _Watched:
    """A lazy array that notes how many values were read at once, at most."""

    def __init__(self, values: np.ndarray) -> None:
        self._values = values
        self.shape, self.dtype, self.ndim = values.shape, values.dtype, values.ndim
        self.most = 0

    def __getitem__(self, index: object) -> np.ndarray:
        part = self._values[index]
        self.most = max(self.most, part.size)
        return part


def test_of_a_lazy_plane_only_the_region_is_read_where_the_contrast_is_known() -> None:
    values = np.arange(100 * 80, dtype=np.float32).reshape(100, 80)
    lazy = _Watched(values)
    part = to_rgb8(lazy, (0, 8000), region=(10, 20, 30, 50))
    assert lazy.most == 20 * 30
    np.testing.assert_array_equal(part, to_rgb8(values, (0, 8000))[10:30, 20:50])


@pytest.mark.parametrize("kind", [np.uint16, np.float32, np.uint8])
@pytest.mark.parametrize("channels", [(), (3,), (4,)])
def test_a_region_has_the_contrast_of_the_whole_plane(kind, channels) -> None:
    rng = np.random.default_rng(5)
    values = (rng.random((60, 50, *channels)) * 250).astype(kind)
    part = to_rgb8(values, region=(5, 6, 25, 36))
    np.testing.assert_array_equal(part, to_rgb8(values)[5:25, 6:36])


def test_a_region_outside_of_the_plane_is_refused() -> None:
    with pytest.raises(ValueError, match="does not lie in the image of 8 rows"):
        to_rgb8(np.zeros((8, 8)), region=(0, 0, 9, 4))


def test_converting_a_plane_takes_no_floats_of_the_whole(monkeypatch) -> None:
    values = np.linspace(0, 1, 2**24, dtype=np.float32).reshape(4096, 4096)
    tracemalloc.start()
    try:
        to_rgb8(values, (0, 1))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # The grey plane and its three channels in bytes, and one block of floats.
    assert peak < 4 * values.size + 2**25

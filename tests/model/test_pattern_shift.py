from __future__ import annotations

import torch

from napari_promise.model.pattern_shift import PatternEmbedding


def test_the_shift_is_zero_at_the_start() -> None:
    shift = PatternEmbedding(32)(torch.randn(2, 32, 8, 8))
    assert shift.shape == (2, 4, 32)
    assert not shift.any()


def test_the_first_step_moves_the_shift_off_zero() -> None:
    module = PatternEmbedding(8)
    image = torch.randn(1, 8, 4, 4)
    module(image).sum().backward()
    assert module.lin2.weight.grad is not None
    assert module.lin2.weight.grad.abs().max() > 0


def test_it_depends_on_the_image_not_on_where_things_are() -> None:
    module = PatternEmbedding(8)
    torch.nn.init.normal_(module.lin2.weight)
    image = torch.randn(1, 8, 4, 4)
    torch.testing.assert_close(module(image), module(image.flip(-1)))
    assert not torch.allclose(module(image), module(image + 1))


def test_a_random_start_is_there_for_those_who_want_the_papers() -> None:
    image = torch.randn(2, 32, 8, 8)
    assert not PatternEmbedding(32)(image).any()
    assert PatternEmbedding(32, zero_init=False)(image).abs().min() > 0

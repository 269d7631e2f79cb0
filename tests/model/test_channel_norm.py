"""The stock classes, run one after the other, are the oracle."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from napari_promise.model import _torchvision  # noqa: F401  (before segment_anything)
from napari_promise.model.auto_prompt import HeatmapAPM
from napari_promise.model.channel_norm import ChannelNorm, NormedProjection

# isort: split
from segment_anything.modeling.common import LayerNorm2d


def _features(*, offset: float = 3.0, channels: int = 40) -> torch.Tensor:
    """Like tokens of a transformer: off zero, two channels far larger than the rest."""
    features = torch.randn(2, channels, 6, 7) + offset
    features[:, 3] *= 40
    features[:, 7] += 90
    return features


def _stock(module: nn.Module) -> nn.Module:
    """Copy the module, with segment_anything's norms in place of ours."""
    stock = copy.deepcopy(module)
    for part in stock.modules():
        if isinstance(part, ChannelNorm):
            part.__class__ = LayerNorm2d
        elif isinstance(part, NormedProjection):
            part.__class__ = nn.Sequential
    return stock


def _random(module: nn.Module) -> nn.Module:
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.3)
    return module


@pytest.mark.parametrize("kind", ["norm", "projection"])
def test_outputs_and_gradients_are_those_of_the_stock_classes(kind: str) -> None:
    torch.manual_seed(0)
    ours = _random(ChannelNorm(40) if kind == "norm" else NormedProjection(40, 9))
    stock = _stock(ours)
    features = _features()
    expected, found = stock(features), ours(features)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    weights = torch.randn_like(expected)
    (expected * weights).sum().backward()
    (found * weights).sum().backward()
    for name, parameter in ours.named_parameters():
        wanted = dict(stock.named_parameters())[name].grad
        assert wanted is not None
        torch.testing.assert_close(parameter.grad, wanted, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kind", ["norm", "projection"])
def test_gradients_reach_what_comes_in_if_it_asks_for_them(kind: str) -> None:
    torch.manual_seed(0)
    ours = _random(ChannelNorm(40) if kind == "norm" else NormedProjection(40, 9))
    gradients = []
    features = _features()
    for module in (ours, _stock(ours)):
        asking = features.clone().requires_grad_()
        module(asking).square().sum().backward()
        gradients.append(asking.grad)
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-3)


def test_a_projection_takes_any_precision_and_stays_exact_under_autocast() -> None:
    torch.manual_seed(0)
    ours = _random(NormedProjection(40, 9))
    features = _features().half()
    expected = ours(features.float())
    with torch.autocast("cpu", torch.bfloat16):
        found = ours(features)
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)


@pytest.mark.parametrize("blocks", [0, 2])
def test_a_map_is_drawn_as_with_the_stock_norms(blocks: int) -> None:
    torch.manual_seed(0)
    apm = _random(HeatmapAPM((24, 40), width=8, neck_channels=16, blocks=blocks)).eval()
    levels = _features(channels=24), _features()
    image = torch.randn(2, 16, 6, 7)
    stock = _stock(apm)
    assert list(stock.state_dict()) == list(apm.state_dict())
    torch.testing.assert_close(
        apm(levels, image), stock(levels, image), rtol=1e-3, atol=1e-3
    )

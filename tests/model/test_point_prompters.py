"""The paper's prompters against their description, written down a second time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from napari_promise.model.auto_prompt import slot_labels
from napari_promise.model.point_prompters import CrossAPM, ResNetAPM

State = Mapping[str, torch.Tensor]


def scramble(module: nn.Module, seed: int = 0) -> None:
    """Fill a module with numbers that no layer could hide behind, statistics too."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in module.state_dict().items():
        if name.endswith("num_batches_tracked"):
            continue
        if name.endswith("running_var"):
            value.copy_(0.5 + torch.rand(value.shape, generator=generator))
        elif value.ndim > 1:
            fan = value[0].numel()
            noise = torch.randn(value.shape, generator=generator)
            value.copy_(noise * (2 / fan) ** 0.5)
        else:
            offset = 1.0 if name.endswith("weight") else 0.0
            noise = torch.randn(value.shape, generator=generator)
            value.copy_(offset + 0.2 * noise)


def batch_norm(state: State, name: str, x: torch.Tensor) -> torch.Tensor:
    names = ("running_mean", "running_var", "weight", "bias")
    return F.batch_norm(x, *(state[f"{name}.{key}"] for key in names))


def resnet_points(state: State, levels: Sequence[torch.Tensor], frame: int):
    """METHOD: concatenate deep to shallow, three convolutions, ResNet-34, sigmoid."""
    x = torch.cat(list(levels)[::-1], 1)
    for index in (0, 2, 4):
        weight, bias = (state[f"fusion.{index}.{key}"] for key in ("weight", "bias"))
        x = F.conv2d(x if index == 0 else x.relu(), weight, bias, padding=1)
    x = F.conv2d(x, state["resnet.conv1.weight"], padding=1)
    x = F.max_pool2d(batch_norm(state, "resnet.bn1", x).relu(), 3, 2, 1)
    for stage, blocks in enumerate((3, 4, 6, 3), start=1):
        for block in range(blocks):
            name = f"resnet.layer{stage}.{block}"
            stride = 2 if stage > 1 and block == 0 else 1
            y = F.conv2d(x, state[f"{name}.conv1.weight"], None, stride, 1)
            y = batch_norm(state, f"{name}.bn1", y).relu()
            y = F.conv2d(y, state[f"{name}.conv2.weight"], None, 1, 1)
            y = batch_norm(state, f"{name}.bn2", y)
            if (stage > 1 and block == 0) or (stage, block) == (4, 2):
                x = F.conv2d(x, state[f"{name}.shortcut.0.weight"], None, stride)
                x = batch_norm(state, f"{name}.shortcut.1", x)
            x = (x + y).relu()
    x = F.adaptive_avg_pool2d(x, 1).flatten(1)
    out = F.linear(x, state["resnet.fc.weight"], state["resnet.fc.bias"])
    return frame / (1 + torch.exp(-out.view(len(x), -1, 2)))


def cross_points(state: State, levels: Sequence[torch.Tensor], frame: int, heads: int):
    """METHOD: queries read level after level; k enlargements of the k-th."""
    positions = state["query_position.weight"]
    queries = state["query_content.weight"].repeat(len(levels[0]), 1, 1)
    width = queries.shape[-1]
    for k, level in enumerate(list(levels)[::-1]):
        x = level
        if f"project.{k}.weight" in state:
            x = F.conv2d(x, state[f"project.{k}.weight"], state[f"project.{k}.bias"])
        for step in range(k):
            name = f"enlarge.{k}.{step}"
            x = F.conv_transpose2d(
                x, state[f"{name}.0.weight"], state[f"{name}.0.bias"], 2
            )
            x = F.conv2d(x, state[f"{name}.1.weight"], state[f"{name}.1.bias"])
            x = batch_norm(state, f"{name}.2", x).relu()
        rows, columns = x.shape[2:]
        where = torch.zeros(rows * columns, width)
        for cell in range(rows * columns):
            turns = ((cell // columns + 1) / rows, (cell % columns + 1) / columns)
            for part, turn in enumerate(turns):
                for i in range(width // 2):
                    angle = 2 * math.pi * turn / (i + 1)
                    value = math.cos(angle) if i % 2 else math.sin(angle)
                    where[cell, part * width // 2 + i] = value
        value = x.flatten(2).mT + state["level.weight"][k]
        name = f"layers.{k}"
        w = state[f"{name}.attention.in_proj_weight"].chunk(3)
        b = state[f"{name}.attention.in_proj_bias"].chunk(3)
        inputs = (queries + positions, value + where, value)
        q, key, v = (
            F.linear(t, w[i], b[i]).unflatten(-1, (heads, -1)).transpose(1, 2)
            for i, t in enumerate(inputs)
        )
        attention = torch.softmax(q @ key.mT / (width // heads) ** 0.5, -1)
        mixed = (attention @ v).transpose(1, 2).flatten(2)
        out = f"{name}.attention.out_proj"
        mixed = F.linear(mixed, state[f"{out}.weight"], state[f"{out}.bias"])

        def norm(which: str, t: torch.Tensor, name: str = name) -> torch.Tensor:
            weight, bias = (state[f"{name}.{which}.{n}"] for n in ("weight", "bias"))
            return F.layer_norm(t, t.shape[-1:], weight, bias)

        queries = norm("norm1", queries + mixed)
        y = F.linear(
            queries, state[f"{name}.mlp.0.weight"], state[f"{name}.mlp.0.bias"]
        )
        y = F.gelu(y)
        y = F.linear(y, state[f"{name}.mlp.2.weight"], state[f"{name}.mlp.2.bias"])
        queries = norm("norm2", queries + y)
    out = F.linear(queries, state["head.weight"], state["head.bias"])
    return torch.sigmoid(out) * frame


def random_levels(*shapes: tuple[int, ...]) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    return [torch.randn(shape, generator=generator) for shape in shapes]


@pytest.mark.parametrize("points", [3, 5, 16])
@torch.no_grad()
def test_the_cnn_computes_what_the_paper_describes(points: int) -> None:
    levels = random_levels(*[(2, 12, 16, 16)] * 3)
    apm = ResNetAPM([12, 12, 12], points, frame=1024, width=8).eval()
    scramble(apm)
    apm.resnet.fc.weight.mul_(0.01)  # random blocks amplify; a sigmoid would saturate
    found = apm(levels)
    assert found.shape == (2, points, 2)
    expected = resnet_points(apm.state_dict(), levels, 1024)
    assert found.std() > 20  # the scrambled weights do move the points
    assert ((found > 10) & (found < 1014)).all()
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-2)


@pytest.mark.parametrize("points", [3, 5, 16])
@torch.no_grad()
def test_the_transformer_computes_what_the_paper_describes(points: int) -> None:
    levels = random_levels(*[(2, 24, 5, 6)] * 3)
    apm = CrossAPM([24, 24, 24], points, frame=1024).eval()
    assert apm.heads == 12
    scramble(apm)
    found = apm(levels)
    assert found.shape == (2, points, 2)
    expected = cross_points(apm.state_dict(), levels, 1024, apm.heads)
    assert found.std() > 20
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-2)


def test_the_third_level_of_vit_b_would_become_62500_tokens() -> None:
    apm = CrossAPM([8, 8, 8], points=3).eval()
    with torch.no_grad():
        shapes = [grow(torch.zeros(1, 8, 64, 64)).shape[-2:] for grow in apm.enlarge]
    assert [h * w for h, w in shapes] == [64 * 64, 126 * 126, 62_500]


def test_the_papers_cnn_has_the_papers_size() -> None:
    with torch.device("meta"):
        apm = ResNetAPM([768, 768, 768], points=16)
    sizes = [
        sum(p.numel() for p in part.parameters()) for part in (apm.fusion, apm.resnet)
    ]
    assert [round(size / 1e6, 1) for size in sizes] == [6.5, 21.7]


# promise-tiny has two levels, TinyViT's differ in channels, and others in grid too.
@pytest.mark.parametrize(
    "shapes",
    [
        [(2, 24, 8, 8), (2, 24, 8, 8)],
        [(2, 16, 8, 8), (2, 16, 8, 8), (2, 32, 8, 8)],
        [(2, 16, 16, 16), (2, 32, 8, 8), (2, 64, 4, 4)],
        [(2, 20, 8, 8)],
    ],
)
@pytest.mark.parametrize("kind", [ResNetAPM, CrossAPM])
def test_any_encoders_levels_are_read_and_get_gradients_through(
    kind: type[ResNetAPM] | type[CrossAPM], shapes: list[tuple[int, ...]]
) -> None:
    torch.manual_seed(0)
    channels = [shape[1] for shape in shapes]
    extra = {"width": 4} if kind is ResNetAPM else {}
    apm = kind(channels, 5, frame=512, **extra)
    found = apm(random_levels(*shapes))
    assert found.shape == (2, 5, 2)
    assert ((found > 0) & (found < 512)).all()
    assert apm.points == 5
    assert apm.labels == slot_labels(5) == (1, 1, 0, 0, 0)
    found.sum().backward()
    assert all(p.grad is not None for p in apm.parameters())


@pytest.mark.parametrize("upsample", [True, False])
def test_settings_build_the_module_again(upsample: bool) -> None:
    levels = random_levels((1, 16, 8, 8), (1, 24, 8, 8))
    for apm in (
        ResNetAPM([16, 24], 3, frame=256, width=4),
        CrossAPM([16, 24], 3, frame=256, upsample=upsample),
    ):
        scramble(apm)
        again = type(apm)(**apm.settings)
        again.load_state_dict(apm.state_dict())
        assert again.settings == apm.settings
        assert torch.equal(again.eval()(levels), apm.eval()(levels))


def test_without_enlargement_the_transformer_reads_the_levels_as_they_are() -> None:
    assert all(len(grow) == 0 for grow in CrossAPM([8, 8], upsample=False).enlarge)


def test_points_keep_their_precision_under_autocast() -> None:
    levels = random_levels((1, 16, 8, 8))
    for apm in (ResNetAPM([16], 16, width=4), CrossAPM([16], 16)):
        with torch.autocast("cpu", torch.bfloat16):
            found = apm.eval()(levels)
        assert found.dtype == torch.float32
        # on bfloat16's grid all would be multiples of 4
        assert (found.flatten() % 4 > 1e-3).sum() > 20


def test_other_levels_are_refused_with_both_shapes() -> None:
    for apm in (ResNetAPM([16, 16], width=4), CrossAPM([16, 16])):
        with pytest.raises(ValueError, match=r"\(16, 16\).*\(16,\)"):
            apm(random_levels((1, 16, 8, 8)))


def test_a_width_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="width 18"):
        CrossAPM([18])
    with pytest.raises(ValueError, match="heads"):
        CrossAPM([16], heads=5)
    with pytest.raises(ValueError, match="points must be at least 1"):
        ResNetAPM([16], points=0, width=4)

"""Checkpoints in other projects' layouts, made on the spot with random numbers."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

DIMS = (64, 128, 160, 320)
DEPTHS = (2, 2, 6, 2)
HEADS = (2, 4, 5, 10)
WINDOWS = (7, 7, 14, 7)


@pytest.fixture(scope="session")
def mobile_sam_state() -> Callable[[int], dict[str, torch.Tensor]]:
    """Make random tensors named and shaped as MobileSAM's image encoder; of a seed."""
    return _mobile_sam_state


def _mobile_sam_state(seed: int = 0) -> dict[str, torch.Tensor]:
    """Random tensors with the names and shapes of MobileSAM's image encoder."""
    generator = torch.Generator().manual_seed(seed)
    state: dict[str, torch.Tensor] = {}

    def fill(name: str, *shape: int, scale: float = 1.0, offset: float = 0.0) -> None:
        state[name] = offset + scale * torch.randn(*shape, generator=generator)

    def conv_bn(name: str, cin: int, cout: int, size: int, groups: int = 1) -> None:
        fan = size * size * cin // groups
        fill(f"{name}.c.weight", cout, cin // groups, size, size, scale=fan**-0.5)
        fill(f"{name}.bn.weight", cout, scale=0.1, offset=1)
        fill(f"{name}.bn.bias", cout, scale=0.1)
        fill(f"{name}.bn.running_mean", cout, scale=0.1)
        state[f"{name}.bn.running_var"] = 0.5 + torch.rand(cout, generator=generator)
        state[f"{name}.bn.num_batches_tracked"] = torch.tensor(7)

    def norm(name: str, dim: int) -> None:
        fill(f"{name}.weight", dim, scale=0.1, offset=1)
        fill(f"{name}.bias", dim, scale=0.1)

    def linear(name: str, cin: int, cout: int) -> None:
        fill(f"{name}.weight", cout, cin, scale=cin**-0.5)
        fill(f"{name}.bias", cout, scale=0.1)

    conv_bn("patch_embed.seq.0", 3, 32, 3)
    conv_bn("patch_embed.seq.2", 32, 64, 3)
    for i, dim in enumerate(DIMS):
        for j in range(DEPTHS[i]):
            block = f"layers.{i}.blocks.{j}"
            if i == 0:
                conv_bn(f"{block}.conv1", dim, 4 * dim, 1)
                conv_bn(f"{block}.conv2", 4 * dim, 4 * dim, 3, groups=4 * dim)
                conv_bn(f"{block}.conv3", 4 * dim, dim, 1)
                continue
            fill(f"{block}.attn.attention_biases", HEADS[i], WINDOWS[i] ** 2)
            norm(f"{block}.attn.norm", dim)
            linear(f"{block}.attn.qkv", dim, 3 * dim)
            linear(f"{block}.attn.proj", dim, dim)
            norm(f"{block}.mlp.norm", dim)
            linear(f"{block}.mlp.fc1", dim, 4 * dim)
            linear(f"{block}.mlp.fc2", 4 * dim, dim)
            conv_bn(f"{block}.local_conv", dim, dim, 3, groups=dim)
        if i < 3:
            out = DIMS[i + 1]
            conv_bn(f"layers.{i}.downsample.conv1", dim, out, 1)
            conv_bn(f"layers.{i}.downsample.conv2", out, out, 3, groups=out)
            conv_bn(f"layers.{i}.downsample.conv3", out, out, 1)
    norm("norm_head", 320)
    linear("head", 320, 1000)
    fill("neck.0.weight", 256, 320, 1, 1, scale=320**-0.5)
    norm("neck.1", 256)
    fill("neck.2.weight", 256, 256, 3, 3, scale=(9 * 256) ** -0.5)
    norm("neck.3", 256)
    return state

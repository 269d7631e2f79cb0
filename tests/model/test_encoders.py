import math

import pytest
import torch
import torch.nn.functional as F

from napari_promise.model.encoders import (
    MobileEncoder,
    from_mobile_sam,
    level_blocks,
    transformer_blocks,
)
from napari_promise.model.sam import build_sam

DEPTHS = (2, 2, 6, 2)
HEADS = (2, 4, 5, 10)
WINDOWS = (7, 7, 14, 7)


def reference(state: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """MobileSAM's encoder, written from the meaning of its tensors' names."""

    def conv_bn(name, x, stride=1):
        weight = state[f"{name}.c.weight"]
        groups = x.shape[1] // weight.shape[1]
        padding = weight.shape[-1] // 2
        x = F.conv2d(x, weight, None, stride, padding, groups=groups)
        names = ("running_mean", "running_var", "weight", "bias")
        return F.batch_norm(x, *(state[f"{name}.bn.{key}"] for key in names))

    def norm(name, x):
        weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
        return F.layer_norm(x, x.shape[-1:], weight, bias)

    def linear(name, x):
        return F.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])

    def attention(name, x, heads, window):  # (windows, window^2, dim)
        count, length, dim = x.shape
        size = dim // heads
        mixed = linear(f"{name}.qkv", norm(f"{name}.norm", x))
        # Each head's query, key and value lie side by side.
        q, k, v = mixed.view(count, length, heads, 3, size).unbind(3)
        scores = torch.einsum("nqhd,nkhd->nhqk", q, k) / math.sqrt(size)
        row = torch.arange(length) // window
        col = torch.arange(length) % window
        down = (row[:, None] - row[None]).abs()
        right = (col[:, None] - col[None]).abs()
        # Offsets are numbered as first met: along the first row, then the next.
        biases = state[f"{name}.attention_biases"][:, down * window + right]
        mix = torch.softmax(scores + biases, dim=-1)
        out = torch.einsum("nhqk,nkhd->nqhd", mix, v).reshape(count, length, dim)
        return linear(f"{name}.proj", out)

    def windowed(name, x, heads, window):  # (1, dim, h, w)
        _, dim, height, width = x.shape
        if (height, width) == (window, window):
            out = attention(name, x.flatten(2).transpose(1, 2), heads, window)
            return out.transpose(1, 2).view_as(x)
        padded = F.pad(x, (0, -width % window, 0, -height % window))
        out = torch.zeros_like(padded)
        for top in range(0, padded.shape[2], window):
            for left in range(0, padded.shape[3], window):
                part = (..., slice(top, top + window), slice(left, left + window))
                tokens = padded[part].flatten(2).transpose(1, 2)
                tokens = attention(name, tokens, heads, window)
                out[part] = tokens.transpose(1, 2).view(1, dim, window, window)
        return out[..., :height, :width]

    x = F.gelu(conv_bn("patch_embed.seq.0", x, 2))
    x = conv_bn("patch_embed.seq.2", x, 2)
    for i in range(4):
        for j in range(DEPTHS[i]):
            block = f"layers.{i}.blocks.{j}"
            if i == 0:
                y = F.gelu(conv_bn(f"{block}.conv1", x))
                y = F.gelu(conv_bn(f"{block}.conv2", y))
                x = F.gelu(x + conv_bn(f"{block}.conv3", y))
                continue
            x = x + windowed(f"{block}.attn", x, HEADS[i], WINDOWS[i])
            x = conv_bn(f"{block}.local_conv", x)
            tokens = norm(f"{block}.mlp.norm", x.permute(0, 2, 3, 1))
            tokens = F.gelu(linear(f"{block}.mlp.fc1", tokens))
            x = x + linear(f"{block}.mlp.fc2", tokens).permute(0, 3, 1, 2)
        if i < 3:
            merge = f"layers.{i}.downsample"
            x = F.gelu(conv_bn(f"{merge}.conv1", x))
            x = F.gelu(conv_bn(f"{merge}.conv2", x, 2 if i < 2 else 1))
            x = conv_bn(f"{merge}.conv3", x)

    def norm_2d(name, x):
        weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
        tokens = F.layer_norm(x.permute(0, 2, 3, 1), x.shape[1:2], weight, bias, 1e-6)
        return tokens.permute(0, 3, 1, 2)

    x = norm_2d("neck.1", F.conv2d(x, state["neck.0.weight"]))
    return norm_2d("neck.3", F.conv2d(x, state["neck.2.weight"], padding=1))


def test_mobile_sams_image_encoder_has_302_tensors(mobile_sam_state):
    assert len(mobile_sam_state()) == 302


def test_mobile_sams_tensors_fill_the_encoder_without_a_rest(mobile_sam_state):
    renamed = from_mobile_sam(mobile_sam_state())
    MobileEncoder().load_state_dict(renamed, strict=True)


def test_an_unknown_tensor_is_not_dropped_in_silence():
    renamed = from_mobile_sam({"layers.0.adapter.weight": torch.zeros(1)})
    assert list(renamed) == ["stages.0.adapter.weight"]


# 224 pixels: the third stage is one window; 256: no stage divides into windows.
@pytest.mark.parametrize("side", [224, 256])
def test_the_encoder_computes_what_mobile_sams_tensors_mean(side, mobile_sam_state):
    state = mobile_sam_state(seed=side)
    encoder = MobileEncoder().eval()
    encoder.load_state_dict(from_mobile_sam(state))
    generator = torch.Generator().manual_seed(1)
    image = torch.randn(1, 3, side, side, generator=generator)
    with torch.no_grad():
        found, wanted = encoder(image), reference(state, image)
    assert found.shape == (1, 256, side // 16, side // 16)
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("arch", "levels"),
    [
        ("vit_t", (5, 8, 11)),
        ("vit_b", (5, 8, 11)),
        ("vit_l", (11, 17, 23)),
        ("vit_h", (15, 23, 31)),
        ("promise-tiny", (5, 11)),
    ],
)
def test_levels_lie_at_a_half_three_quarters_and_the_end(arch, levels):
    with torch.device("meta"):
        encoder = build_sam(arch).image_encoder
    assert level_blocks(encoder) == levels
    assert levels[-1] == len(transformer_blocks(encoder)) - 1

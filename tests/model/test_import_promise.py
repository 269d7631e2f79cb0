"""Checkpoints in the authors' layout, made on the spot, and their forward pass.

The reference is written from the description of their model, on stock SAM's own parts.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from napari_promise import cli
from napari_promise.model import sam as room
from napari_promise.model import weights
from napari_promise.model.adapters import load_adapter, save_adapter
from napari_promise.model.import_promise import authors_forward, import_checkpoint
from napari_promise.model.sam import Embedding
from napari_promise.segmenter import Segmenter

State = dict[str, torch.Tensor]
STAGES = (3, 4, 6, 3)


def authors_state(
    sam: Any, kind: str, points: int = 5, width: int = 4, seed: int = 0
) -> State:
    """The state dict of the authors' model around `sam`, with random modules."""
    generator = torch.Generator().manual_seed(seed)
    state = {key: value.clone() for key, value in sam.state_dict().items()}
    dim = state["image_encoder.patch_embed.proj.weight"].shape[0]
    channels = state["mask_decoder.mask_tokens.weight"].shape[1]

    def fill(name: str, *shape: int, gain: float = 2.0) -> None:
        fan = 1
        for size in shape[1:]:
            fan *= size
        scale = (gain / fan) ** 0.5 if len(shape) > 1 else 0.2
        state[name] = scale * torch.randn(*shape, generator=generator)

    def layer(name: str, *shape: int) -> None:
        fill(f"{name}.weight", *shape)
        fill(f"{name}.bias", shape[0])

    def norm(name: str, size: int, *, batch: bool) -> None:
        layer(name, size)
        state[f"{name}.weight"] += 1
        if batch:
            fill(f"{name}.running_mean", size)
            state[f"{name}.running_var"] = 0.5 + torch.rand(size, generator=generator)
            state[f"{name}.num_batches_tracked"] = torch.tensor(38_000)

    def conv_norm(conv: str, norm_: str, out: int, into: int, size: int) -> None:
        fill(f"{conv}.weight", out, into, size, size)
        norm(norm_, out, batch=True)

    if "IPS" in kind:
        layer("ips_ffn.lin1", 4 * channels, channels)
        layer("ips_ffn.lin2", 4 * channels, 4 * channels)
    if "resnet" in kind:
        fused = 4 * width
        for index, into in enumerate((3 * dim, fused, fused), start=1):
            layer(f"apm_feature_map.fusion_conv{index}", fused, into, 3, 3)
        conv_norm("apm_resnet.conv1", "apm_resnet.bn1", width, fused, 3)
        into = width
        for stage, blocks in enumerate(STAGES):
            out = width * 2**stage
            for block in range(blocks):
                name = f"apm_resnet.layer{stage + 1}.{block}"
                conv_norm(f"{name}.conv1", f"{name}.bn1", out, into, 3)
                conv_norm(f"{name}.conv2", f"{name}.bn2", out, out, 3)
                if into != out or (stage, block) == (3, 2):
                    shortcut = f"{name}.shortcut"
                    conv_norm(f"{shortcut}.0", f"{shortcut}.1", out, into, 1)
                into = out
        layer("apm_resnet.fc", 2 * points, into)
        # random blocks amplify, and a saturated sigmoid would hide every difference
        state["apm_resnet.fc.weight"] *= 0.5 / width
        layer("apm_resnet.fc2", 4 * channels, into)
    if "cross" in kind:
        fill("apm_cross.query_embedding.weight", points, dim)
        fill("apm_cross.query_feat.weight", points, dim)
        fill("apm_cross.level_embedding.weight", 3, dim)
        for index in range(3):
            name = f"apm_cross.layers.{index}"
            fill(f"{name}.cross_attention.in_proj_weight", 3 * dim, dim)
            fill(f"{name}.cross_attention.in_proj_bias", 3 * dim)
            layer(f"{name}.cross_attention.out_proj", dim, dim)
            layer(f"{name}.ffn.lin1", 4 * dim, dim)
            layer(f"{name}.ffn.lin2", dim, 4 * dim)
            for which in (1, 2, 3):
                norm(f"{name}.norm{which}", dim, batch=False)
        for index in (1, 2, 3):
            name = f"apm_cross.deconv{index}"
            layer(f"{name}.deconv", dim, dim, 2, 2)
            layer(f"{name}.conv", dim, dim, 3, 3)
            norm(f"{name}.batchnorm", dim, batch=True)
        layer("apm_cross_prompt", 2, dim)
    return state


class Authors:
    """Their forward pass on a state dict, for one image."""

    def __init__(self, state: State, sam: Any) -> None:
        self.state = state
        self.sam = sam
        self.frame = sam.image_encoder.img_size

    def _conv(self, name: str, x: torch.Tensor, **how: int) -> torch.Tensor:
        bias = self.state.get(f"{name}.bias")
        return F.conv2d(x, self.state[f"{name}.weight"], bias, **how)

    def _bn(self, name: str, x: torch.Tensor) -> torch.Tensor:
        s = self.state
        scale = s[f"{name}.weight"] / (s[f"{name}.running_var"] + 1e-5).sqrt()
        shift = s[f"{name}.bias"] - s[f"{name}.running_mean"] * scale
        return x * scale[:, None, None] + shift[:, None, None]

    def _linear(self, name: str, x: torch.Tensor) -> torch.Tensor:
        return x @ self.state[f"{name}.weight"].T + self.state[f"{name}.bias"]

    def _ln(self, name: str, x: torch.Tensor) -> torch.Tensor:
        x = x - x.mean(-1, keepdim=True)
        x = x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt()
        return x * self.state[f"{name}.weight"] + self.state[f"{name}.bias"]

    def resnet(self, level6, level9, level12) -> torch.Tensor:
        x = torch.cat((level12, level9, level6), dim=1)
        x = self._conv("apm_feature_map.fusion_conv1", x, padding=1).relu()
        x = self._conv("apm_feature_map.fusion_conv2", x, padding=1).relu()
        x = self._conv("apm_feature_map.fusion_conv3", x, padding=1)
        x = self._bn("apm_resnet.bn1", self._conv("apm_resnet.conv1", x, padding=1))
        x = F.max_pool2d(x.relu(), kernel_size=3, stride=2, padding=1)
        for stage in (1, 2, 3, 4):
            for block in range(STAGES[stage - 1]):
                name = f"apm_resnet.layer{stage}.{block}"
                step = 2 if block == 0 and stage > 1 else 1
                y = self._conv(f"{name}.conv1", x, stride=step, padding=1)
                y = self._bn(f"{name}.bn1", y).relu()
                y = self._bn(f"{name}.bn2", self._conv(f"{name}.conv2", y, padding=1))
                if f"{name}.shortcut.0.weight" in self.state:
                    x = self._conv(f"{name}.shortcut.0", x, stride=step)
                    x = self._bn(f"{name}.shortcut.1", x)
                x = torch.relu(y + x)
        return self._linear("apm_resnet.fc", x.mean((2, 3))).view(1, -1, 2)

    def cross(self, level6, level9, level12) -> torch.Tensor:
        level9 = self._enlarge(1, level9)
        level6 = self._enlarge(3, self._enlarge(2, level6))
        where = self.state["apm_cross.query_embedding.weight"][None]
        x = self.state["apm_cross.query_feat.weight"][None]
        dim = x.shape[-1]
        for index, level in enumerate((level12, level9, level6)):
            name = f"apm_cross.layers.{index}"
            value = level.flatten(2).transpose(1, 2)
            value = value + self.state["apm_cross.level_embedding.weight"][index]
            heads = [n for n in range(1, 13) if dim % n == 0][-1]
            attended, _ = F.multi_head_attention_forward(
                (x + where).transpose(0, 1),
                (value + self._sines(level)).transpose(0, 1),
                value.transpose(0, 1),
                dim,
                heads,
                self.state[f"{name}.cross_attention.in_proj_weight"],
                self.state[f"{name}.cross_attention.in_proj_bias"],
                None,
                None,
                False,
                0.0,
                self.state[f"{name}.cross_attention.out_proj.weight"],
                self.state[f"{name}.cross_attention.out_proj.bias"],
            )
            x = self._ln(f"{name}.norm1", x + attended.transpose(0, 1))
            y = self._linear(
                f"{name}.ffn.lin2", F.gelu(self._linear(f"{name}.ffn.lin1", x))
            )
            x = self._ln(f"{name}.norm3", x + y)
        return self._linear("apm_cross_prompt", x)

    def _enlarge(self, index: int, x: torch.Tensor) -> torch.Tensor:
        name = f"apm_cross.deconv{index}"
        weight, bias = (
            self.state[f"{name}.deconv.{key}"] for key in ("weight", "bias")
        )
        x = self._conv(f"{name}.conv", F.conv_transpose2d(x, weight, bias, 2))
        return self._bn(f"{name}.batchnorm", x).relu()

    @staticmethod
    def _sines(level: torch.Tensor) -> torch.Tensor:
        """(1, h w, C): rows in the first half, columns in the second."""
        _, channels, height, width = level.shape
        half = channels // 2
        row, column = torch.meshgrid(
            torch.arange(1, height + 1) / height,
            torch.arange(1, width + 1) / width,
            indexing="ij",
        )
        parts = []
        for place in (row, column):
            angle = place.reshape(-1, 1) * 2 * torch.pi / torch.arange(1, half + 1)
            even = torch.arange(half) % 2 == 0
            parts.append(torch.where(even, angle.sin(), angle.cos()))
        return torch.cat(parts, dim=1)[None]

    @torch.no_grad()
    def __call__(
        self, emb: Embedding, points: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if points is None:
            net = self.resnet if "apm_resnet.fc.weight" in self.state else self.cross
            points = torch.sigmoid(net(*emb.levels)) * self.frame
        count = points.shape[1]
        labels = torch.tensor([[1] * (count // 2) + [0] * (count - count // 2)])
        decoder, encoder = self.sam.mask_decoder, self.sam.prompt_encoder
        tokens = self.state["mask_decoder.mask_tokens.weight"]
        if "ips_ffn.lin1.weight" in self.state:
            x = F.adaptive_avg_pool2d(emb.image, 1).flatten(1)
            x = self._linear("ips_ffn.lin2", F.gelu(self._linear("ips_ffn.lin1", x)))
            tokens = tokens + x.view(4, -1)
        sparse, dense = encoder((points, labels), None, None)
        kept = decoder.mask_tokens.weight.data
        decoder.mask_tokens.weight.data = tokens
        masks, _ = decoder(emb.image, encoder.get_dense_pe(), sparse, dense, True)
        decoder.mask_tokens.weight.data = kept
        return points, torch.sigmoid(masks)[:, 0:1]


def random_embedding(sam: Any, seed: int = 1) -> Embedding:
    """An embedding whose numbers no encoder has made."""
    generator = torch.Generator().manual_seed(seed)
    side = sam.prompt_encoder.image_embedding_size[0]
    channels = sam.prompt_encoder.embed_dim
    dim = sam.image_encoder.patch_embed.proj.out_channels
    frame = (sam.image_encoder.img_size,) * 2
    return Embedding(
        torch.randn(1, channels, side, side, generator=generator),
        tuple(torch.randn(1, dim, side, side, generator=generator) for _ in range(3)),
        frame,
        frame,
        sam.model_id,
    )


@pytest.fixture
def save(tmp_path: Path) -> Callable[[Any], Path]:
    def save_(content: Any) -> Path:
        torch.save(content, tmp_path / "theirs.pt")
        return tmp_path / "theirs.pt"

    return save_


@pytest.mark.parametrize("points", [3, 5, 16])
@pytest.mark.parametrize(
    "kind", ["APM_resnet", "APM_IPS_resnet", "APM_cross", "APM_IPS_cross"]
)
def test_points_and_probabilities_are_the_authors(
    kind: str, points: int, micro_sam: Any, save: Callable[[Any], Path], tmp_path: Path
) -> None:
    state = authors_state(micro_sam, kind, points, seed=points)
    imported = import_checkpoint(save(state), micro_sam, "theirs")
    assert imported.kind == kind
    folder = save_adapter(imported.adapter, tmp_path / "theirs")
    adapter = load_adapter(folder, micro_sam)
    emb = random_embedding(micro_sam)
    expected, expected_masks = Authors(state, micro_sam)(emb)
    found, masks = authors_forward(micro_sam, adapter, emb)
    assert found.shape == (1, points, 2)
    assert masks.shape == (1, 1, 32, 32)
    assert expected.std() > 0.5  # of 64 pixels
    assert ((expected > 0.5) & (expected < 63.5)).all()
    assert masks.std() > 1e-3
    torch.testing.assert_close(found, expected, rtol=0, atol=0.01 / 1024 * 64)
    torch.testing.assert_close(masks, expected_masks, rtol=0, atol=1e-4)
    assert adapter.info.points == points
    assert adapter.info.mask_choice == "paper"


@pytest.mark.parametrize("kind", ["APM_resnet", "APM_IPS_resnet"])
def test_proposing_and_segmenting_give_the_authors_mask(
    kind: str, micro_sam: Any, save: Callable[[Any], Path]
) -> None:
    state = authors_state(micro_sam, kind, points=5)
    adapter = import_checkpoint(save(state), micro_sam, "theirs").adapter
    segmenter = Segmenter(micro_sam, adapter)
    emb = random_embedding(micro_sam)
    points, expected = Authors(state, micro_sam)(emb)
    prompts = segmenter.propose(emb)
    assert prompts.labels.tolist() == [1, 1, 0, 0, 0]
    assert prompts.logits is None
    assert prompts.scores is None
    rows_and_columns = points[0].flip(1).clamp(0, 63)
    found = torch.tensor(prompts.points).float()
    torch.testing.assert_close(found, rows_and_columns, rtol=0, atol=1e-3)
    at = rows_and_columns.flip(1)[None]
    expected = Authors(state, micro_sam)(emb, at)[1]
    result = segmenter.segment(emb, prompts)
    assert result.token == 1
    found = torch.sigmoid(torch.tensor(result.logits))
    # logits are float16 numbers, to serve as a mask prompt
    torch.testing.assert_close(found, expected[0], rtol=0, atol=3e-4)
    if kind == "APM_resnet":
        assert segmenter.segment(emb, prompts, ips=False).token == 0


def test_ips_alone_answers_points_from_the_truth(
    micro_sam: Any, save: Callable[[Any], Path]
) -> None:
    state = authors_state(micro_sam, "IPS_GT")
    imported = import_checkpoint(save(state), micro_sam, "theirs")
    assert imported.kind == "IPS_GT"
    assert imported.adapter.apm is None
    assert imported.unused == ()
    emb = random_embedding(micro_sam)
    at = torch.tensor([[[10.0, 20.0], [33.0, 40.0], [5.0, 60.0]]])
    _, expected = Authors(state, micro_sam)(emb, at)
    points = (at, torch.tensor([[1, 0, 0]]))
    _, masks = authors_forward(micro_sam, imported.adapter, emb, points)
    torch.testing.assert_close(masks, expected, rtol=0, atol=1e-4)
    with pytest.raises(ValueError, match="predicts no points"):
        authors_forward(micro_sam, imported.adapter, emb)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {"model": state, "epoch": 197},
        lambda state: {"state_dict": state},
        lambda state: {f"module.{key}": value for key, value in state.items()},
        lambda state: {"model": {f"module.{k}": v for k, v in state.items()}},
        # their first checkpoints
        lambda state: {k.replace("ips_ffn.", "ffn."): v for k, v in state.items()},
    ],
)
def test_a_trainers_wrapping_is_taken_off(
    wrap: Callable[[State], Any], micro_sam: Any, save: Callable[[Any], Path]
) -> None:
    state = authors_state(micro_sam, "APM_IPS_resnet")
    imported = import_checkpoint(save(wrap(state)), micro_sam, "theirs")
    found = imported.adapter.state_dict()["ips.lin2.weight"]
    assert torch.equal(found, state["ips_ffn.lin2.weight"])


def test_unused_tensors_are_named(micro_sam: Any, save: Callable[[Any], Path]) -> None:
    state = authors_state(micro_sam, "APM_resnet") | {"extra.bias": torch.zeros(1)}
    imported = import_checkpoint(save(state), micro_sam, "theirs")
    unused = ("apm_resnet.fc2.weight", "apm_resnet.fc2.bias", "extra.bias")
    assert imported.unused == unused
    assert all(key in imported.adapter.info.note for key in unused)


def test_missing_tensors_are_refused_by_name(
    micro_sam: Any, save: Callable[[Any], Path]
) -> None:
    whole = authors_state(micro_sam, "APM_IPS_resnet")
    for key in (
        "apm_resnet.fc.weight",
        "apm_resnet.layer4.2.shortcut.0.weight",
        "apm_feature_map.fusion_conv2.bias",
        "ips_ffn.lin1.bias",
        "mask_decoder.iou_token.weight",
    ):
        path = save({name: value for name, value in whole.items() if name != key})
        with pytest.raises(ValueError, match=key.replace(".", r"\.")) as error:
            import_checkpoint(path, micro_sam, "theirs")
        assert "\n" not in str(error.value)


def test_a_prompter_of_which_a_part_is_left_is_missed_not_forgotten(
    micro_sam: Any, save: Callable[[Any], Path]
) -> None:
    state = authors_state(micro_sam, "APM_IPS_resnet")
    rest = {k: v for k, v in state.items() if not k.startswith("apm_resnet.")}
    with pytest.raises(ValueError, match=r"apm_resnet\.fc\.weight is missing"):
        import_checkpoint(save(rest), micro_sam, "theirs")


def test_other_shapes_are_refused_by_name(
    micro_sam: Any, save: Callable[[Any], Path]
) -> None:
    state = authors_state(micro_sam, "APM_resnet")
    state["apm_resnet.fc.bias"] = torch.zeros(7)
    with pytest.raises(ValueError, match=r"apm_resnet.fc.bias.*\(7,\).*\(10,\)"):
        import_checkpoint(save(state), micro_sam, "theirs")


def test_another_base_is_refused_unless_asked_for(
    micro_sam: Any, save: Callable[[Any], Path]
) -> None:
    state = authors_state(micro_sam, "IPS_GT")
    state["image_encoder.pos_embed"][0, 0, 0, 0] += 1e-3
    path = save(state)
    with pytest.raises(ValueError, match="another SAM than micro.*pos_embed"):
        import_checkpoint(path, micro_sam, "theirs")
    imported = import_checkpoint(path, micro_sam, "theirs", allow_different_base=True)
    assert imported.differing == ("image_encoder.pos_embed",)
    assert "another SAM" in imported.adapter.info.note
    state["image_encoder.pos_embed"] = torch.zeros(1, 4, 4, 32)  # no value can compare
    with pytest.raises(ValueError, match="another SAM.*shape.*pos_embed"):
        import_checkpoint(save(state), micro_sam, "theirs", allow_different_base=True)


def test_what_is_no_checkpoint_of_the_authors_is_refused_in_one_line(
    micro_sam: Any, save: Callable[[Any], Path], tmp_path: Path
) -> None:
    witness = tmp_path / "witness"

    class Malicious:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (witness,))

    whole = save(authors_state(micro_sam, "IPS_GT")).read_bytes()
    cases = {
        "sam.pt": (lambda path: torch.save(micro_sam.state_dict(), path), "no module"),
        "half.pt": (lambda path: path.write_bytes(whole[: len(whole) // 2]), "cannot"),
        "code.pkl": (
            lambda path: path.write_bytes(pickle.dumps(Malicious(), 2)),
            "code",
        ),
        "code.pt": (lambda path: torch.save({"a": Malicious()}, path), "code"),
        "text.pt": (lambda path: path.write_text("hello"), "refused|cannot be read"),
    }
    for name, (write, reason) in cases.items():
        write(tmp_path / name)
        with pytest.raises(ValueError, match=f"{name}.*({reason})") as error:
            import_checkpoint(tmp_path / name, micro_sam, "theirs")
        assert "\n" not in str(error.value)
    assert not witness.exists()


# The command, on a SAM as wide as ViT-B --------------------------------------------


@pytest.fixture
def small_vit_b(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Checkpoint of a ViT-B of two blocks, on 256 pixels; recognised as vit_b."""
    from functools import partial

    from segment_anything.modeling import ImageEncoderViT

    def build() -> Any:
        sam = room._around(
            ImageEncoderViT(
                img_size=256,
                embed_dim=768,
                depth=2,
                num_heads=12,
                norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
                use_rel_pos=True,
                window_size=14,
            )
        )
        sam.prompt_encoder.image_embedding_size = (16, 16)
        sam.prompt_encoder.input_image_size = (256, 256)
        return sam

    torch.manual_seed(0)
    monkeypatch.setitem(room.ARCHITECTURES, "vit_b", build)
    monkeypatch.setenv("NAPARI_PROMISE_ADAPTERS", str(tmp_path / "own"))
    torch.save(build().state_dict(), tmp_path / "base.pth")
    return tmp_path / "base.pth"


def run(*arguments: object) -> int:
    return cli.main([str(argument) for argument in arguments])


@pytest.mark.slow
def test_the_command_writes_an_adapter_that_computes_the_same(
    small_vit_b: Path,
    save: Callable[[Any], Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    sam = room.load_sam(small_vit_b)
    state = authors_state(sam, "APM_IPS_resnet", points=16, width=64)
    theirs = save(state)
    command = ("adapters", "import", theirs, "--name", "paper", "-m", small_vit_b)
    assert run(*command) == 0
    told = capsys.readouterr()
    assert f"imported: {tmp_path / 'own' / 'paper'}" in told.out
    assert "apm_resnet.fc2.weight" in told.err
    record = json.loads((tmp_path / "own" / "paper" / "adapter.json").read_text())
    assert record["apm"] == "resnet"
    assert record["points"] == 16
    assert record["slot_labels"] == [1] * 8 + [0] * 8
    assert record["base_sha256"] == weights.sha256_of(small_vit_b)

    adapter = load_adapter("paper", sam)
    emb = random_embedding(sam)
    expected, expected_masks = Authors(state, sam)(emb)
    assert expected.std() > 2
    assert ((expected > 1) & (expected < 255)).all()
    found, masks = authors_forward(sam, adapter, emb)
    torch.testing.assert_close(found, expected, rtol=0, atol=0.01 / 1024 * 256)
    torch.testing.assert_close(masks, expected_masks, rtol=0, atol=1e-4)

    assert run(*command) == 2
    assert "add --force" in capsys.readouterr().err
    assert run(*command, "--force") == 0


def test_the_command_says_what_is_wrong_and_writes_nothing(
    small_vit_b: Path,
    save: Callable[[Any], Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    sam = room.load_sam(small_vit_b)
    state = authors_state(sam, "IPS_GT")
    state["mask_decoder.iou_token.weight"] += 1
    theirs = save(state)
    assert run("adapters", "import", theirs) == 2
    assert "--name" in capsys.readouterr().err
    assert run("adapters", "import", theirs, "--name", "a/b") == 2
    assert "a/b" in capsys.readouterr().err
    command = ("adapters", "import", theirs, "--name", "x", "--model", small_vit_b)
    assert run(*command) == 1
    told = capsys.readouterr().err
    assert "mask_decoder.iou_token.weight" in told
    assert len(told.strip().splitlines()) == 1
    assert not (tmp_path / "own").exists()
    assert run(*command, "--allow-different-base") == 0
    assert "another SAM" in capsys.readouterr().err

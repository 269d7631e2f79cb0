"""The command line as a person or a script uses it: files in, files and status out."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_promise import cli
from napari_promise.data.export import load_prompts, save_prompts
from napari_promise.data.pairs import read_mask
from napari_promise.model.weights import MODELS, model_file
from napari_promise.prompts import Prompts
from napari_promise.segmenter import Segmenter


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def picture(tmp_path: Path, rng: np.random.Generator) -> Path:
    """Return a small RGB image with a bright disc, as a PNG."""
    path = tmp_path / "in" / "frame.png"
    path.parent.mkdir()
    return draw(path, rng)


def draw(
    path: Path, rng: np.random.Generator, shape: tuple[int, int] = (40, 60)
) -> Path:
    rows, columns = np.indices(shape)
    image = rng.integers(40, 90, (*shape, 3)).astype(np.uint8)
    image[(rows - 20) ** 2 + (columns - 30) ** 2 < 10**2] = 220
    Image.fromarray(image).save(path)
    return path


@pytest.fixture
def encoded(micro_sam: Any, monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """Let the commands use a micro model; return what it was asked to encode."""
    seen: list[np.ndarray] = []

    class Watched(Segmenter):
        def encode(self, image: Any, **kwargs: Any) -> Any:
            seen.append(image)
            return super().encode(image, **kwargs)

    def load(model: Any, adapter: Any = None, device: str = "auto", **kw: Any) -> Any:
        return Watched(micro_sam)

    monkeypatch.setattr(Segmenter, "load", staticmethod(load))
    return seen


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    """Return the folder of an adapter for the micro model."""
    import torch

    from napari_promise.model.adapters import Adapter, AdapterInfo, save_adapter
    from napari_promise.model.auto_prompt import HeatmapAPM
    from napari_promise.model.pattern_shift import PatternEmbedding

    torch.manual_seed(0)
    info = AdapterInfo("toy", "micro", "0" * 64, points=6, class_name="disc")
    apm = HeatmapAPM([32, 32, 32], width=16)
    return save_adapter(
        Adapter(info, apm, PatternEmbedding(32)), tmp_path / "made" / "toy"
    )


def run(*arguments: Any) -> int:
    return cli.main([str(argument) for argument in arguments])


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    """Return stderr, which must be one line and no traceback."""
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert "Traceback" not in message
    return message


# Starting


def test_help_answers_at_once_and_imports_nothing_heavy() -> None:
    code = (
        "import sys; from napari_promise import cli; status = cli.main(['--help']);"
        "heavy = {'torch', 'numpy', 'napari', 'qtpy', 'zarr', 'skimage', 'scipy'};"
        "print(heavy & set(sys.modules), file=sys.stderr); sys.exit(status)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    assert "segment" in done.stdout
    assert done.stderr.strip() == "set()"


@pytest.mark.parametrize(
    "command", ["demo", "segment", "train", "evaluate", "models", "adapters"]
)
def test_every_command_explains_itself(command, capsys) -> None:
    assert run(command, "--help") == 0
    assert "Usage" in capsys.readouterr().out


def test_the_version_is_the_packages(capsys) -> None:
    from napari_promise import __version__

    assert run("--version") == 0
    assert capsys.readouterr().out.strip() == f"napari-promise {__version__}"


def test_the_demo_is_handed_its_options(tmp_path, monkeypatch) -> None:
    from napari_promise import demo

    asked = []

    def fake(auto: bool | None = None, out: Any = "demo") -> int:
        asked.append((auto, out))
        return len(asked) - 1

    monkeypatch.setattr(demo, "main", fake)
    assert run("demo") == 0
    assert run("demo", "--auto", "-o", tmp_path) == 1
    assert asked == [(None, Path("demo")), (True, tmp_path)]


# Bad arguments: status 2, one line, nothing written


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["segmen"], "No such command 'segmen'"),
        (["segment"], "Missing"),
        (["segment", "PICTURE"], "--output"),
        (["segment", "PICTURE", "-o", "OUT"], "give --points, --box or --prompts"),
        (
            ["segment", "no.png", "-o", "OUT", "--points", "1,2"],
            "no.png does not exist",
        ),
        (["segment", "*.xyz", "-o", "OUT", "--points", "1,2"], "No file matches"),
        (["segment", "PICTURE", "-o", "OUT", "--points", "1;2"], "--points '1'"),
        (["segment", "PICTURE", "-o", "OUT", "--points", "a,b"], "--points 'a,b'"),
        (["segment", "PICTURE", "-o", "OUT", "--points", "1,2,5"], "1 (include)"),
        (["segment", "PICTURE", "-o", "OUT", "--points", "nan,2"], "--points 'nan,2'"),
        (["segment", "PICTURE", "-o", "OUT", "--box", "1,2,3"], "--box '1,2,3'"),
        (
            ["segment", "PICTURE", "-o", "OUT", "--box", "1,2,3,4", "--format", "gif"],
            "--format gif is unknown",
        ),
        (
            ["segment", "PICTURE", "-o", "OUT", "--box", "1,2,3,4", "--model", "vit_x"],
            "--model vit_x is neither a file nor a known model",
        ),
        (
            ["segment", "PICTURE", "-o", "OUT", "--box", "1,2,3,4", "--device", "tpu"],
            "tpu",
        ),
        (
            ["segment", "PICTURE", "-o", "OUT", "--adapter", "nowhere"],
            "nowhere",
        ),
        (
            ["segment", "PICTURE", "-o", "OUT", "--box", "1,2,3,4"]
            + ["--contrast-limits", "9,1"],
            "the lower one comes first",
        ),
        (
            ["segment", "PICTURE", "-o", "OUT", "--prompts", "PICTURE"],
            "no prompts file",
        ),
        (["evaluate", "--images", "IN", "--masks", "IN", "--prompts", "all"], "'all'"),
        (
            ["evaluate", "--images", "IN", "--masks", "IN", "--prompts", "auto"],
            "adapter",
        ),
        (
            ["evaluate", "--images", "IN", "--masks", "IN", "--prompts", "noc+local"],
            "leave +local out",
        ),
        (
            ["evaluate", "--images", "no", "--masks", "IN", "--prompts", "box"],
            "no folder",
        ),
        (["train", "--images", "IN", "--masks", "no", "-o", "OUT"], "no is no folder"),
        (["models", "download", "vit_x"], "vit_x is no known model"),
        (["adapters", "info", "nowhere"], "nowhere is no adapter here"),
        (["adapters", "remove", "nowhere"], "nowhere is no adapter here"),
        (["adapters", "import", "nowhere"], "nowhere is no folder"),
    ],
)
def test_bad_arguments_are_named_in_one_line(
    arguments, message, picture, encoded, tmp_path, capsys
) -> None:
    places = {"PICTURE": picture, "OUT": tmp_path / "out", "IN": picture.parent}
    assert run(*(places.get(a, a) for a in arguments)) == 2
    assert message in one_line(capsys)
    assert not (tmp_path / "out").exists()


# segment


def test_a_click_becomes_a_mask_its_prompts_and_its_provenance(
    picture, encoded, tmp_path, capsys
) -> None:
    out = tmp_path / "out"
    assert run("segment", picture, "-o", out, "--points", "20,30,1;2,2,0") == 0
    assert sorted(path.name for path in out.iterdir()) == [
        "frame.png",
        "frame.png.provenance.json",
        "frame.prompts.json",
    ]
    mask = np.asarray(Image.open(out / "frame.png"))
    assert mask.shape == (40, 60)
    assert set(np.unique(mask)) <= {0, 255}
    saved = load_prompts(out / "frame.prompts.json")
    assert saved.objects[0].prompts.points.tolist() == [[20, 30], [2, 2]]
    assert saved.objects[0].prompts.labels.tolist() == [1, 0]
    assert saved.objects[0].sources == ("user", "user")
    assert len(saved.image["digest"][""]) == 32
    made = json.loads((out / "frame.png.provenance.json").read_text())
    assert made["model"] == {"name": "micro", "sha256": "0" * 64}
    assert "1 segmented, 0 skipped, 0 failed" in capsys.readouterr().out


def test_the_mask_is_the_one_that_python_gives(
    picture, encoded, micro_sam, tmp_path
) -> None:
    run("segment", picture, "-o", tmp_path / "out", "--box", "10,20,30,40")
    segmenter = Segmenter(micro_sam)
    embedding = segmenter.encode(np.asarray(Image.open(picture)))
    expected = segmenter.segment(embedding, Prompts(boxes=[(10, 20, 30, 40)])).mask
    assert np.array_equal(read_mask(tmp_path / "out" / "frame.png") > 0, expected)


def test_saved_prompts_replay_to_the_same_mask(picture, encoded, tmp_path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    run("segment", picture, "-o", first, "--points", "20,30;25,35,0")
    run("segment", picture, "-o", second, "--prompts", first / "frame.prompts.json")
    assert (first / "frame.png").read_bytes() == (second / "frame.png").read_bytes()


def test_a_replay_says_when_model_or_adapter_is_another(
    picture, encoded, adapter, micro_sam, tmp_path, capsys
) -> None:
    first = tmp_path / "first"
    run("segment", picture, "-o", first, "--box", "5,5,30,40", "--adapter", adapter)
    replay = ("segment", picture, "--prompts", first / "frame.prompts.json", "-o")
    assert run(*replay, tmp_path / "same", "--adapter", adapter) == 0
    assert capsys.readouterr().err == ""
    assert run(*replay, tmp_path / "other") == 0
    assert "adapter toy then and none now" in one_line(capsys)
    assert run(*replay, tmp_path / "no-ips", "--adapter", adapter, "--no-ips") == 0
    assert "IPS True then and False now" in one_line(capsys)
    assert run(*replay, tmp_path / "whole", "--adapter", adapter, "--no-local") == 0
    assert "local corrections True then and False now" in one_line(capsys)


def test_a_replay_on_another_image_is_done_and_said(
    picture, encoded, rng, tmp_path, capsys
) -> None:
    run("segment", picture, "-o", tmp_path / "first", "--box", "5,5,30,40")
    prompts = tmp_path / "first" / "frame.prompts.json"
    other = draw(tmp_path / "other.png", rng)
    command = ("segment", picture, other, "-o", tmp_path / "again")
    assert run(*command, "--prompts", prompts) == 0
    message = one_line(capsys)
    assert "other.png" in message
    assert "not the pixels" in message


def test_a_replay_sees_the_contrast_that_the_prompts_were_made_on(
    encoded, rng, tmp_path
) -> None:
    values = rng.integers(0, 4000, (40, 60)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "deep.tif", values)
    first, again = tmp_path / "first", tmp_path / "again"
    command = ("segment", tmp_path / "deep.tif", "-o")
    limits = ("--contrast-limits", "1000,2000")
    run(*command, first, "--box", "5,5,30,40", *limits)
    run(*command, again, "--prompts", first / "deep.prompts.json", "--no-cache")
    assert len(encoded) == 2
    assert np.array_equal(encoded[0], encoded[1])


def test_several_replayed_objects_keep_their_ids_and_classes(
    picture, encoded, tmp_path
) -> None:
    from napari_promise.data.export import SavedObject

    objects = [
        SavedObject(4, Prompts(boxes=[(2, 2, 15, 15)]), class_name="a"),
        SavedObject(300, Prompts(boxes=[(20, 30, 38, 58)]), class_name="b"),
    ]
    save_prompts(tmp_path / "p.json", objects)
    out = tmp_path / "out"
    assert run("segment", picture, "-o", out, "--prompts", tmp_path / "p.json") == 0
    assert set(np.unique(read_mask(out / "frame.png"))) <= {0, 4, 300}
    back = load_prompts(out / "frame.prompts.json").objects
    assert [(o.id, o.class_name) for o in back] == [(4, "a"), (300, "b")]


def test_folders_patterns_and_files_become_one_result_each(
    picture, encoded, rng, tmp_path, capsys
) -> None:
    draw(picture.with_name("other.jpg"), rng)
    more = draw(tmp_path / "more.png", rng)
    out = tmp_path / "out"
    pattern = f"{picture.parent}/*.jpg"
    assert (
        run("segment", picture.parent, pattern, more, "-o", out, "--box", "1,1,9,9")
        == 0
    )
    assert sorted(path.name for path in out.glob("*.png")) == [
        "frame.png",
        "more.png",
        "other.png",
    ]
    assert "3 segmented" in capsys.readouterr().out


def test_what_is_done_is_skipped_unless_forced(
    picture, encoded, tmp_path, capsys
) -> None:
    command = ("segment", picture, "-o", tmp_path / "out", "--no-cache", "--points")
    run(*command, "20,30")
    first = (tmp_path / "out" / "frame.prompts.json").read_bytes()
    assert run(*command, "5,5") == 0
    assert "0 segmented, 1 skipped" in capsys.readouterr().out
    assert len(encoded) == 1
    assert (tmp_path / "out" / "frame.prompts.json").read_bytes() == first
    assert run(*command, "5,5", "--force") == 0
    assert len(encoded) == 2
    assert (tmp_path / "out" / "frame.prompts.json").read_bytes() != first


def test_a_broken_file_does_not_stop_the_rest_and_is_named(
    picture, encoded, rng, tmp_path, capsys
) -> None:
    broken = picture.with_name("a_broken.png")
    broken.write_bytes(b"not a picture")
    draw(picture.with_name("z_last.png"), rng)
    out = tmp_path / "out"
    assert run("segment", picture.parent, "-o", out, "--points", "20,30") == 1
    captured = capsys.readouterr()
    assert str(broken) in captured.err
    assert captured.err.count("\n") == 1
    assert "2 segmented, 0 skipped, 1 failed" in captured.out
    assert (out / "frame.png").exists()
    assert (out / "z_last.png").exists()
    assert not list(out.glob("a_broken*"))


def test_a_point_outside_the_image_fails_that_image(
    picture, encoded, tmp_path, capsys
) -> None:
    out = tmp_path / "out"
    assert run("segment", picture, "-o", out, "--points", "20,300") == 1
    assert "outside the image of 40 rows and 60 columns" in one_line(capsys)
    assert not list(out.glob("frame*"))


def test_an_image_is_encoded_once_for_all_runs(picture, encoded, tmp_path) -> None:
    for number in range(3):
        out = tmp_path / str(number)
        assert run("segment", picture, "-o", out, "--points", f"{20 + number},30") == 0
    assert len(encoded) == 1


def test_a_cached_embedding_gives_the_same_mask(picture, encoded, tmp_path) -> None:
    for name, option in [("a", "--cache"), ("b", "--cache"), ("c", "--no-cache")]:
        run("segment", picture, "-o", tmp_path / name, option, "--points", "20,30")
    a, b, c = ((tmp_path / n / "frame.png").read_bytes() for n in "abc")
    assert a == b == c
    assert len(encoded) == 2


def test_an_adapter_proposes_the_prompts(
    picture, encoded, adapter, tmp_path, monkeypatch
) -> None:
    proposed = Prompts(points=[(20, 30), (3, 3)], labels=[1, 0], scores=[0.9, 0.2])
    monkeypatch.setattr(Segmenter, "propose", lambda self, embedding: proposed)
    out = tmp_path / "out"
    assert run("segment", picture, "-o", out, "--adapter", adapter) == 0
    saved = load_prompts(out / "frame.prompts.json")
    (record,) = saved.objects
    assert record.prompts == proposed
    assert record.sources == ("auto", "auto")
    assert record.class_name == "disc"
    assert saved.provenance["adapter"]["name"] == "toy"
    assert len(saved.provenance["adapter"]["sha256"]) == 64
    assert str(tmp_path) not in (out / "frame.prompts.json").read_text()


def test_a_real_proposal_is_segmented_and_recorded(
    picture, encoded, adapter, tmp_path
) -> None:
    out = tmp_path / "out"
    assert run("segment", picture, "-o", out, "--adapter", adapter) == 0
    (record,) = load_prompts(out / "frame.prompts.json").objects
    assert record.prompts.logits is not None
    again = tmp_path / "again"
    replay = ("--prompts", out / "frame.prompts.json", "--adapter", adapter)
    assert run("segment", picture, "-o", again, *replay) == 0
    assert (out / "frame.png").read_bytes() == (again / "frame.png").read_bytes()


def test_where_nothing_is_found_the_mask_is_empty_and_that_is_said(
    picture, encoded, adapter, tmp_path, monkeypatch, capsys
) -> None:
    nothing = Prompts(points=[(1, 1)], labels=[0])
    monkeypatch.setattr(Segmenter, "propose", lambda self, embedding: nothing)
    assert run("segment", picture, "-o", tmp_path / "out", "-a", adapter) == 0
    assert "nothing was found" in one_line(capsys)
    assert not read_mask(tmp_path / "out" / "frame.png").any()


def test_an_adapter_of_another_model_is_refused_with_both_names(
    picture, encoded, adapter, micro_sam, tmp_path, capsys
) -> None:
    micro_sam.model_id, micro_sam.sha256 = "vit_b", "f" * 64
    assert run("segment", picture, "-o", tmp_path / "out", "-a", adapter) == 2
    message = one_line(capsys)
    assert "micro" in message
    assert "vit_b" in message


def test_an_adapter_that_proposes_nothing_needs_other_prompts(
    picture, encoded, tmp_path, capsys
) -> None:
    from napari_promise.model.adapters import Adapter, AdapterInfo, save_adapter
    from napari_promise.model.pattern_shift import PatternEmbedding

    info = AdapterInfo("shift", "micro", "0" * 64, apm="none")
    folder = save_adapter(Adapter(info, None, PatternEmbedding(32)), tmp_path / "shift")
    command = ("segment", picture, "-o", tmp_path / "out", "--adapter", folder)
    assert run(*command) == 2
    assert "proposes no points" in one_line(capsys)
    assert run(*command, "--box", "5,5,30,40") == 0


def test_a_stack_is_segmented_plane_by_plane_into_one_tiff(
    encoded, rng, tmp_path
) -> None:
    stack = rng.integers(0, 4000, (3, 40, 60)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "scan.tif", stack, photometric="minisblack")
    out = tmp_path / "out"
    assert run("segment", tmp_path / "scan.tif", "-o", out, "--box", "5,5,30,40") == 0
    assert tifffile.imread(out / "scan.tif").shape == (3, 40, 60)
    planes = [o.plane for o in load_prompts(out / "scan.prompts.json").objects]
    assert planes == [(0,), (1,), (2,)]
    assert len(encoded) == 3


def test_prompts_of_one_plane_touch_no_other(encoded, rng, tmp_path) -> None:
    from napari_promise.data.export import SavedObject

    stack = rng.integers(0, 4000, (3, 40, 60)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "scan.tif", stack, photometric="minisblack")
    record = SavedObject(2, Prompts(boxes=[(5, 5, 30, 40)]), plane=(1,))
    save_prompts(tmp_path / "p.json", [record])
    out = tmp_path / "out"
    command = ("segment", tmp_path / "scan.tif", "-o", out)
    assert run(*command, "--prompts", tmp_path / "p.json") == 0
    labels = tifffile.imread(out / "scan.tif")
    assert not labels[[0, 2]].any()
    assert len(encoded) == 1


def test_prompts_of_a_plane_that_is_not_there_are_refused(
    picture, encoded, tmp_path, capsys
) -> None:
    from napari_promise.data.export import SavedObject

    record = SavedObject(2, Prompts(boxes=[(5, 5, 30, 40)]), plane=(7,))
    save_prompts(tmp_path / "p.json", [record])
    command = ("segment", picture, "-o", tmp_path / "out")
    assert run(*command, "--prompts", tmp_path / "p.json") == 1
    assert "has no plane (7,)" in one_line(capsys)


def test_a_nifti_result_lies_where_its_image_lies(encoded, rng, tmp_path) -> None:
    affine = np.array(
        [[-2, 0, 0, 90], [0, 1.5, 0.2, -126], [0, -0.2, 3, -72], [0, 0, 0, 1]]
    )
    for name, shape in [("volume", (60, 40, 2)), ("slice", (60, 40, 1))]:
        volume = rng.random(shape).astype(np.float32)
        path = tmp_path / f"{name}.nii.gz"
        nibabel.save(nibabel.Nifti1Image(volume, affine), path)
        out = tmp_path / "out"
        assert run("segment", path, "-o", out, "--box", "5,5,30,40") == 0
        result = nibabel.load(out / f"{name}.nii.gz")
        assert result.shape == shape
        assert np.allclose(result.affine, affine, atol=1e-5)


def test_one_image_may_become_a_named_file_of_any_format(
    picture, encoded, tmp_path, capsys
) -> None:
    for suffix in (".tif", ".npy", ".nii.gz", ".png"):
        target = tmp_path / f"mine{suffix}"
        assert run("segment", picture, "-o", target, "--box", "5,5,30,40") == 0
        assert target.is_file()
    command = ("segment", picture, "-o", tmp_path / "all", "--box", "5,5,30,40")
    assert run(*command, "--format", "npy") == 0
    assert np.load(tmp_path / "all" / "frame.npy").max() <= 1
    capsys.readouterr()
    two = ("segment", picture, picture.parent, "-o", tmp_path / "one.tif")
    draw(picture.with_name("b.png"), np.random.default_rng(1))
    assert run(*two, "--box", "5,5,30,40") == 2
    assert "one file for 2 images" in one_line(capsys)


def test_two_images_that_would_become_one_file_are_refused(
    picture, encoded, rng, tmp_path, capsys
) -> None:
    draw(picture.with_suffix(".jpg"), rng)
    command = ("segment", picture.parent, "-o", tmp_path / "out", "--box", "5,5,30,40")
    assert run(*command) == 2
    assert "would both become" in one_line(capsys)


def test_an_image_is_never_replaced_by_its_own_mask(picture, encoded, capsys) -> None:
    before = picture.read_bytes()
    command = ("segment", picture, "-o", picture.parent, "--box", "5,5,30,40")
    assert run(*command, "--force") == 2
    assert "replaced by its own result" in one_line(capsys)
    assert picture.read_bytes() == before


def test_contrast_limits_decide_what_is_encoded(encoded, rng, tmp_path) -> None:
    values = rng.integers(0, 4000, (40, 60)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "deep.tif", values)
    command = ("segment", tmp_path / "deep.tif", "-o", tmp_path / "out")
    run(*command, "--box", "5,5,30,40", "--contrast-limits", "1000,2000")
    expected = np.clip((values - 1000.0) / 1000, 0, 1) * 255
    assert np.abs(encoded[0][..., 0] - expected).max() <= 0.51


def test_an_output_folder_that_cannot_be_made_is_said_in_one_line(
    picture, encoded, tmp_path, capsys
) -> None:
    (tmp_path / "file").write_text("")
    command = ("segment", picture, "--box", "5,5,30,40", "-o")
    assert run(*command, tmp_path / "file") == 2
    assert "is a file: give a folder" in one_line(capsys)
    assert run(*command, tmp_path / "file" / "out") == 1
    assert "file" in one_line(capsys)


# evaluate and train


@pytest.fixture
def pairs(tmp_path: Path, rng: np.random.Generator) -> tuple[Path, Path]:
    images, masks = tmp_path / "images", tmp_path / "masks"
    images.mkdir()
    masks.mkdir()
    rows, columns = np.indices((40, 60))
    disc = (rows - 20) ** 2 + (columns - 30) ** 2 < 10**2
    for name in ("a", "b", "c"):
        draw(images / f"{name}.png", rng)
        Image.fromarray(disc.astype(np.uint8) * 255).save(masks / f"{name}.png")
    return images, masks


@pytest.mark.parametrize("prompts", ["click:2", "box", "gt:6"])
def test_evaluate_writes_every_score_as_json(
    prompts, pairs, encoded, tmp_path, capsys
) -> None:
    report = tmp_path / "scores.json"
    command = ("evaluate", "--images", pairs[0], "--masks", pairs[1])
    assert run(*command, "--prompts", prompts, "--json", report) == 0
    data = json.loads(report.read_text())
    assert data["prompts"] == prompts
    assert data["summary"]["images"] == 3
    assert len(data["scores"]) == 3
    captured = capsys.readouterr()
    header, kind, *rows = captured.out.splitlines()
    assert header.split("\t") == ["measure", prompts]
    assert kind.split("\t") == ["prompts are", "prompted from the truth"]
    assert "Dice\t0." in "\n".join(rows)
    assert "bootstrap" in captured.err
    assert set(data["summary"]) >= set(data["intervals"])


def test_evaluate_takes_several_ways_of_prompting_and_leaves_what_it_is_asked_for(
    pairs, encoded, adapter, tmp_path, capsys
) -> None:
    files = {name: tmp_path / "out" / name for name in ("a.json", "a.csv", "page")}
    files["a.csv"].parent.mkdir()
    command = ("evaluate", "--images", pairs[0], "--masks", pairs[1])
    command += ("--adapter", adapter, "--prompts", "auto,gt:6", "--prompts", "box")
    command += ("--json", files["a.json"], "--csv", files["a.csv"])
    command += ("--overlays", files["page"], "--group", "[ab]")
    assert run(*command) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[0].split("\t") == ["measure", "auto", "gt:6", "box"]
    reports = json.loads(files["a.json"].read_text())["reports"]
    assert [report["prompts"] for report in reports] == ["auto", "gt:6", "box"]
    assert reports[0]["bootstrap"]["by"] == "group"
    assert {score["group"] for score in reports[0]["scores"]} == {"a", "b", None}
    assert len(files["a.csv"].read_text().splitlines()) == 4
    assert (files["page"] / "overlays.html").stat().st_size > 1000
    encoded.clear()
    for kept in ("--json", "--csv", "--overlays"):
        at = command.index(kept)
        assert run(*command[:at], *command[at + 2 :]) == 2
        assert "exists already" in one_line(capsys)
    assert run(*command) == 2
    assert encoded == []


def test_evaluate_without_monai_says_so_and_goes_on(
    pairs, encoded, capsys, monkeypatch
) -> None:
    from napari_promise.training import metrics

    monkeypatch.setattr(metrics, "has_monai", lambda: False)
    command = ("evaluate", "--images", pairs[0], "--masks", pairs[1])
    assert run(*command, "--prompts", "box", "--limit", "1") == 0
    captured = capsys.readouterr()
    assert "napari-promise[metrics]" in captured.err
    assert "HD95" not in captured.out


@pytest.mark.parametrize("prompts", ["box,box", "box,nothing"])
def test_ways_of_prompting_given_twice_or_unknown_are_refused(
    prompts, pairs, encoded, capsys
) -> None:
    command = ("evaluate", "--images", pairs[0], "--masks", pairs[1])
    assert run(*command, "--prompts", prompts) == 2
    assert "--prompts box" in one_line(capsys) or prompts.endswith("nothing")
    assert encoded == []


def test_automatic_scores_need_an_adapter_and_have_their_own_column(
    pairs, encoded, adapter, capsys
) -> None:
    command = ("evaluate", "--images", pairs[0], "--masks", pairs[1], "--json", "-")
    assert run(*command, "--prompts", "auto", "--adapter", adapter) == 0
    summary = json.loads(capsys.readouterr().out)["summary"]
    assert "automatic_dice" in summary
    assert "frozen_automatic_dice" in summary
    assert "gt_prompted_dice" not in summary


def test_an_earlier_report_is_kept_and_said_before_anything_is_measured(
    pairs, encoded, tmp_path, capsys
) -> None:
    report = tmp_path / "scores.json"
    report.write_text("earlier")
    command = ("evaluate", "--images", pairs[0], "--masks", pairs[1], "--json", report)
    assert run(*command, "--prompts", "box") == 2
    assert "exists already" in one_line(capsys)
    assert report.read_text() == "earlier"
    assert encoded == []
    assert run(*command, "--prompts", "box", "--force") == 0


def test_evaluate_measures_the_rest_and_names_a_broken_file(
    pairs, encoded, tmp_path, capsys
) -> None:
    (pairs[0] / "b.png").write_bytes(b"broken")
    command = ("evaluate", "--images", pairs[0], "--masks", pairs[1], "--json", "-")
    assert run(*command, "--prompts", "box") == 1
    captured = capsys.readouterr()
    assert json.loads(captured.out)["summary"]["images"] == 2
    assert "b.png" in captured.err


def test_an_image_without_an_object_is_left_out_and_is_no_failure(
    pairs, encoded, capsys
) -> None:
    Image.fromarray(np.zeros((40, 60), np.uint8)).save(pairs[1] / "b.png")
    command = ("evaluate", "--images", pairs[0], "--masks", pairs[1])
    assert run(*command, "--prompts", "box") == 0
    assert "its mask is empty" in capsys.readouterr().err


def test_images_without_masks_are_named_or_left_out(pairs, encoded, capsys) -> None:
    (pairs[1] / "b.png").unlink()
    command = (
        "evaluate",
        "--images",
        pairs[0],
        "--masks",
        pairs[1],
        "--prompts",
        "box",
    )
    assert run(*command) == 2
    assert "b.png" in one_line(capsys)
    assert run(*command, "--skip-unpaired", "--limit", "1") == 0


class Step:
    """What a training run says of one step."""

    def __init__(self, phase: str, step: int, **more: Any) -> None:
        self.phase, self.step, self.total = phase, step, 2
        self.loss = more.get("loss")
        self.message = more.get("message", "")
        self.held_out = more.get("held_out", {})
        self.eta = more.get("eta")


def test_train_passes_its_arguments_on_and_tells_the_scores(
    pairs, tmp_path, capsys, monkeypatch
) -> None:
    from napari_promise.training import trainer

    configs = []

    def fake(config: Any) -> Any:
        configs.append(config)
        yield Step("embed", 1, message="one image was left out")
        yield Step("apm", 2, loss=0.5, held_out={"automatic": 0.75})

    monkeypatch.setattr(trainer, "train", fake)
    out = tmp_path / "my-adapter"
    command = ("train", "--images", pairs[0], "--masks", pairs[1], "-o", out)
    options = ("--points", 6, "--no-ips", "--epochs", 3, "--seed", 7, "--group", "^(.)")
    assert run(*command, *options, "--class-name", "polyp", "--held-out", 0.3) == 0
    (config,) = configs
    assert (config.name, config.output, config.points) == ("my-adapter", out, 6)
    assert (config.ips, config.apm_epochs, config.seed) == (False, 3, 7)
    assert (config.class_name, config.held_out_share) == ("polyp", 0.3)
    assert [pair.group for pair in config.pairs] == ["a", "b", "c"]
    captured = capsys.readouterr()
    assert "automatic Dice, held out: 0.750" in captured.out
    assert "one image was left out" in captured.err


def test_train_takes_pairs_from_a_table_and_goes_on_where_it_stopped(
    pairs, tmp_path, capsys, monkeypatch
) -> None:
    from napari_promise.training import trainer

    configs = []

    def fake(config: Any) -> Any:
        configs.append(config)
        yield Step("embed", 1, eta=90.0)

    monkeypatch.setattr(trainer, "train", fake)
    table = tmp_path / "table.csv"
    lines = [f"{pairs[0] / n}.png,{pairs[1] / n}.png,set/{n}" for n in "abc"]
    table.write_text("\n".join(["image,mask,group", *lines]))
    out = tmp_path / "my-adapter"
    out.mkdir()
    (out / "adapter.json").write_text("{}")
    command = ("train", "--pairs", table, "-o", out)
    assert run(*command) == 2
    assert "--resume" in one_line(capsys)
    options = ("--resume", "--cache", tmp_path / "views", "--cache-quota", "1.5")
    assert run(*command, *options, "--no-keep-cache", "--auxiliary", "0") == 0
    (config,) = configs
    assert [pair.group for pair in config.pairs] == ["set/a", "set/b", "set/c"]
    assert (config.resume, config.keep_cache) == (True, False)
    assert (config.cache, config.cache_quota) == (tmp_path / "views", 1500000000)
    assert (config.auxiliary, config.trained_on) == (0.0, "table")


def test_train_wants_two_folders_or_a_table(pairs, tmp_path, capsys) -> None:
    out = ("-o", tmp_path / "o")
    assert run("train", "--images", pairs[0], *out) == 2
    assert "--images and --masks, or a table" in one_line(capsys)
    assert run("train", "--images", pairs[0], "--pairs", "p.csv", *out) == 2
    assert "not both" in one_line(capsys)


def test_train_names_the_images_that_have_no_mask(
    pairs, tmp_path, capsys, monkeypatch
) -> None:
    from napari_promise.training import trainer

    monkeypatch.setattr(trainer, "train", lambda _: (s for s in [Step("done", 1)]))
    (pairs[1] / "b.png").unlink()
    command = ("train", "--images", pairs[0], "--masks", pairs[1], "-o", tmp_path / "o")
    assert run(*command) == 2
    assert "--skip-unpaired" in one_line(capsys)
    assert run(*command, "--skip-unpaired") == 0
    assert "1 images have no mask: b.png" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--apm", "transformer"), "transformer"),
        (("--points", "0"), "points must be 1 to 64"),
        (("--apm", "none", "--no-ips"), "nothing to train"),
        (("--epochs", "0"), "at least 1"),
        (("--held-out", "0.9"), "0.05 to 0.5"),
        (("--name", "a/b"), "adapter name"),
    ],
)
def test_train_refuses_bad_values_before_it_begins(
    options, message, pairs, tmp_path, capsys
) -> None:
    command = ("train", "--images", pairs[0], "--masks", pairs[1], "-o", tmp_path / "o")
    assert run(*command, *options) == 2
    assert message in one_line(capsys)
    assert not (tmp_path / "o").exists()


def test_train_keeps_an_earlier_adapter_unless_forced(pairs, adapter, capsys) -> None:
    command = ("train", "--images", pairs[0], "--masks", pairs[1], "-o", adapter)
    assert run(*command) == 2
    assert "holds an adapter already" in one_line(capsys)


def test_a_failed_training_is_one_line_and_status_1(
    pairs, tmp_path, capsys, monkeypatch
) -> None:
    from napari_promise.training import trainer

    def fails(config: Any) -> Any:
        raise ValueError("every mask is empty: check that foreground is above zero")
        yield

    monkeypatch.setattr(trainer, "train", fails)
    command = ("train", "--images", pairs[0], "--masks", pairs[1], "-o", tmp_path / "o")
    assert run(*command) == 1
    assert "every mask is empty" in one_line(capsys)


def test_stopping_a_training_says_what_was_kept(
    pairs, tmp_path, capsys, monkeypatch
) -> None:
    from napari_promise.training import trainer

    closed = []

    def interrupted(config: Any) -> Any:
        try:
            yield Step("apm", 1)
            raise KeyboardInterrupt
        finally:
            closed.append(True)

    monkeypatch.setattr(trainer, "train", interrupted)
    command = ("train", "--images", pairs[0], "--masks", pairs[1], "-o", tmp_path / "o")
    assert run(*command) == 1
    assert "stopped; nothing was kept" in one_line(capsys)
    assert closed


# models and adapters


def test_models_are_listed_with_and_without_the_word_list(capsys) -> None:
    assert run("models") == 0
    listed = capsys.readouterr().out
    assert run("models", "list") == 0
    assert capsys.readouterr().out == listed
    names = [line.split("\t")[0] for line in listed.splitlines()[1:]]
    assert names == list(MODELS)


def test_a_model_is_downloaded_by_name(capsys, monkeypatch, tmp_path) -> None:
    from napari_promise.model import weights

    asked = []

    def fetch(name: str, progress: Any = None, cancel: Any = None) -> Path:
        asked.append(name)
        progress(5, 10)
        return tmp_path / name

    monkeypatch.setattr(weights, "fetch", fetch)
    assert run("models", "download", "vit_t") == 0
    assert asked == ["vit_t"]
    assert str(tmp_path / "vit_t") in capsys.readouterr().out


def test_a_download_that_fails_is_one_line_and_status_1(capsys, monkeypatch) -> None:
    from napari_promise.model import weights

    def fetch(name: str, **kwargs: Any) -> Path:
        raise weights.FetchError("no network: put sam.pth into the cache")

    monkeypatch.setattr(weights, "fetch", fetch)
    assert run("models", "download", "vit_b") == 1
    assert "no network" in one_line(capsys)


def test_a_model_that_is_not_here_cannot_be_verified(capsys) -> None:
    assert run("models", "verify", "vit_h") == 1
    assert "vit_h" in one_line(capsys)


def test_a_file_that_is_no_known_model_is_not_imported(picture, capsys) -> None:
    assert run("models", "import", picture) == 1
    assert "frame.png" in one_line(capsys)


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NAPARI_PROMISE_ADAPTERS", str(tmp_path / "own"))
    return tmp_path / "own"


def test_an_adapter_is_imported_listed_shown_verified_and_removed(
    adapter, own, capsys
) -> None:
    assert run("adapters", "import", adapter) == 0
    assert (own / "toy" / "adapter.json").is_file()
    capsys.readouterr()
    assert run("adapters") == 0
    assert "toy\tmicro\tdisc\t6 points\tyes" in capsys.readouterr().out
    assert run("adapters", "info", "toy") == 0
    assert json.loads(capsys.readouterr().out)["class_name"] == "disc"
    assert run("adapters", "verify", "toy") == 0
    assert "is right" in capsys.readouterr().out
    assert run("adapters", "remove", "toy", "--yes") == 0
    assert not (own / "toy").exists()


def test_an_adapter_is_exported_as_one_file_renamed_and_imported_again(
    adapter, own, tmp_path, capsys
) -> None:
    run("adapters", "import", adapter)
    file = tmp_path / "toy.promise-adapter"
    assert run("adapters", "export", "toy", "-o", file) == 0
    assert file.is_file()
    capsys.readouterr()
    assert run("adapters", "export", "toy", "-o", file) == 2
    assert "exists already" in one_line(capsys)
    assert run("adapters", "rename", "toy", "other") == 0
    assert not (own / "toy").exists()
    assert (own / "other" / "adapter.json").is_file()
    assert run("adapters", "import", file) == 0
    assert (own / "toy" / "adapter.json").is_file()
    capsys.readouterr()
    assert run("adapters", "rename", "polyp", "mine") == 2
    assert "bundled" in one_line(capsys)


def test_an_adapter_of_the_same_name_is_replaced_only_when_forced(
    adapter, own, capsys
) -> None:
    run("adapters", "import", adapter)
    capsys.readouterr()
    assert run("adapters", "import", adapter) == 2
    assert "add --force" in one_line(capsys)
    assert run("adapters", "import", adapter, "--force") == 0


def test_removing_asks_first(adapter, own, capsys, monkeypatch) -> None:
    run("adapters", "import", adapter)
    monkeypatch.setattr("sys.stdin", open("/dev/null"))
    assert run("adapters", "remove", "toy") == 1
    assert "was kept" in capsys.readouterr().err
    assert (own / "toy").is_dir()


def test_a_damaged_adapter_does_not_pass(adapter, capsys) -> None:
    (adapter / "adapter.safetensors").write_bytes(b"damaged")
    assert run("adapters", "verify", adapter) == 1
    assert "damaged" in one_line(capsys)


# The bundled model


def test_the_bundled_model_segments_a_picture_as_a_user_runs_it(rng, tmp_path) -> None:
    if model_file("promise-tiny") is None:
        pytest.skip("the bundled weights are not in this checkout")
    picture = draw(tmp_path / "frame.png", rng, (240, 320))
    image = np.asarray(Image.open(picture)).copy()
    rows, columns = np.indices(image.shape[:2])
    disc = (rows - 120) ** 2 + (columns - 160) ** 2 < 60**2
    image[disc] = 220
    Image.fromarray(image).save(picture)
    command = [sys.executable, "-m", "napari_promise.cli", "segment", str(picture)]
    start = time.perf_counter()
    done = subprocess.run(
        [*command, "-o", str(tmp_path / "out"), "--points", "120,160,1"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert time.perf_counter() - start < 120
    mask = read_mask(tmp_path / "out" / "frame.png") > 0
    dice = 2 * (mask & disc).sum() / (mask.sum() + disc.sum())
    assert dice > 0.8


def test_the_bundled_adapter_prompts_itself_on_the_sample(tmp_path) -> None:
    from napari_promise.model.adapters import list_adapters

    names = [item.info.name for item in list_adapters() if item.bundled]
    if model_file("promise-tiny") is None or "polyp" not in names:
        pytest.skip("the bundled weights are not in this checkout")
    from napari_promise.data import samples

    image, truth = samples.endoscopy_scene()
    Image.fromarray(image).save(tmp_path / "scene.png")
    out = tmp_path / "out"
    assert run("segment", tmp_path / "scene.png", "-o", out, "-a", "polyp") == 0
    mask = read_mask(out / "scene.png") > 0
    dice = 2 * (mask & truth).sum() / (mask.sum() + truth.sum())
    assert dice > 0.7

"""The program as it starts, explains itself and refuses what it cannot read."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.cli.running import one_line, run


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

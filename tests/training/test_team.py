from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

from napari_promise.data.pairs import Pair
from napari_promise.training.config import TrainConfig
from napari_promise.training.trainer import train

pytest.importorskip("lightning_fabric", reason="the extra 'remote' is not installed")


def curve(folder: Path, processes: int) -> list[float]:
    """Train in so many processes; return the loss of each pass."""
    script = Path(__file__).with_name("team_run.py")
    environment = {"CUDA_VISIBLE_DEVICES": "", "MASTER_ADDR": "127.0.0.1"}
    done = subprocess.run(
        [sys.executable, str(script), str(folder), str(processes)],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        cwd=folder,
        timeout=500,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    with (folder / str(processes) / "curves.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["phase"] in ("apm", "ips")]
    return [float(row["loss"]) for row in rows]


@pytest.mark.slow
def test_two_processes_learn_what_one_learns_from_the_whole_batch(
    tmp_path: Path,
) -> None:
    one, two = curve(tmp_path, 1), curve(tmp_path, 2)
    assert len(one) == 3
    assert two == pytest.approx(one, rel=1e-4)
    assert (tmp_path / "2" / "adapter.json").exists()


def test_what_learns_from_whole_batches_is_not_divided(tmp_path: Path) -> None:
    pairs = [Pair(tmp_path / f"{n}.png", tmp_path / f"{n}-mask.png") for n in (1, 2)]
    config = TrainConfig(pairs=tuple(pairs), name="toy", apm="resnet")
    with pytest.raises(ValueError, match="in one process"):
        next(iter(train(config, object(), team=object())))

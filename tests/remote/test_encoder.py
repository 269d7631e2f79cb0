from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("distributed", reason="the extra 'remote' is not installed")
pytest.importorskip("cryptography", reason="the extra 'remote' is not installed")

from napari_promise.prompts import Prompts
from napari_promise.segmenter import Segmenter

pytestmark = [pytest.mark.long, pytest.mark.timeout(1200)]


def picture(seed: int = 0, shape: tuple[int, int] = (60, 90)) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (*shape, 3), np.uint8)


@pytest.fixture(scope="module")
def remote(server: Any) -> Any:
    segmenter = Segmenter.connect(server.address, certificate=server.certificate)
    yield segmenter
    segmenter.close()


@pytest.fixture(scope="module")
def local() -> Segmenter:
    return Segmenter.load("promise-tiny")


def test_what_comes_back_is_bit_for_bit_what_this_computer_would_have_encoded(
    remote: Segmenter, local: Segmenter
) -> None:
    there = remote.encode(picture(), region=(10, 20, 50, 80))
    here = local.encode(picture(), region=(10, 20, 50, 80))
    a, b = there.to_arrays(), here.to_arrays()
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name])
    prompts = Prompts(points=[(30, 40)])
    mask, own = remote.segment(there, prompts), local.segment(here, prompts)
    np.testing.assert_array_equal(mask.logits, own.logits)
    assert (remote.model_id, remote.sha256) == (local.model_id, local.sha256)


def test_adapters_work_here_on_what_was_encoded_there(
    remote: Segmenter, local: Segmenter
) -> None:
    found = [
        one.propose(one.encode(picture())).logits
        for one in (remote.with_adapter("polyp"), local.with_adapter("polyp"))
    ]
    np.testing.assert_array_equal(*found)


def test_no_parameter_of_an_encoder_is_here(remote: Segmenter) -> None:
    assert not list(remote.sam.image_encoder.parameters())
    assert not any(p.requires_grad for p in remote.sam.parameters())


def test_images_said_ahead_are_read_no_further_than_they_are_sent(
    remote: Segmenter, local: Segmenter
) -> None:
    read = []

    def images() -> Any:
        for seed in range(20):
            read.append(seed)
            yield picture(seed)

    remote.feed(images())
    assert 0 < len(read) < 8
    for seed in (0, 1, 3):  # the third is never asked for
        found = remote.encode(picture(seed)).image
        assert (found == local.encode(picture(seed)).image).all()
    assert len(read) < 12
    remote.feed(iter(()))


def test_a_worker_that_is_killed_costs_time_only(server: Any) -> None:
    with_its_own = Segmenter.connect(server.address, certificate=server.certificate)
    expected = with_its_own.encode(picture(1)).image

    def kill() -> None:
        process = next(iter(server.cluster.workers.values())).process
        os.kill(process.pid, 9)

    timer = threading.Timer(0.3, kill)
    timer.start()
    for seed in range(2, 6):
        with_its_own.encode(picture(seed))
    assert (with_its_own.encode(picture(1)).image == expected).all()
    timer.join()
    with_its_own.close()


def test_who_is_cancelled_gives_up_at_once(remote: Segmenter) -> None:
    from napari_promise.model.weights import Cancelled

    began = time.monotonic()
    with pytest.raises(Cancelled):
        remote.encode(picture(100, (500, 500)), cancel=lambda: True)
    assert time.monotonic() - began < 30
    remote.encode(picture(100, (500, 500)))


@pytest.mark.parametrize("kind", ["another server's", "none", "plain"])
def test_whoever_has_not_the_certificate_is_refused_in_one_line(
    server: Any, tmp_path: Path, kind: str
) -> None:
    from napari_promise.remote.security import server_credentials

    address, certificate = server.address, None
    if kind == "another server's":
        certificate = server_credentials(tmp_path / "other")[1]
    elif kind == "plain":
        address = address.replace("tls://", "tcp://")
    with pytest.raises(OSError, match="certificate") as raised:
        Segmenter.connect(address, certificate=certificate)
    assert "\n" not in str(raised.value)


def test_the_certificate_of_a_stranger_with_our_authority_is_needed(
    server: Any, tmp_path: Path
) -> None:
    # Knows who the server is, and has no certificate of its authority.
    from dataclasses import replace

    from napari_promise.remote.security import load_credentials, make_credentials

    mixed = replace(
        make_credentials()[1],
        authority=load_credentials(server.certificate).authority,
    )
    path = tmp_path / "mixed.pem"
    path.write_bytes(mixed.to_file())
    with pytest.raises(PermissionError, match="refuses this certificate"):
        Segmenter.connect(server.address, certificate=path)


def test_a_model_that_is_not_there_is_said_by_its_name(server: Any) -> None:
    with pytest.raises(ValueError, match="no model 'unheard-of'"):
        Segmenter.connect(server.address, "unheard-of", certificate=server.certificate)


def test_only_functions_of_the_package_are_sent(server: Any) -> None:
    from napari_promise.remote.encoder import RemoteEncoder, find_server

    encoder = RemoteEncoder(find_server(server.address, server.certificate))
    with pytest.raises(TypeError, match="not sent"):
        encoder._run(os.getpid)
    encoder.close()

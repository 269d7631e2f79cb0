"""Make files that are wrong: whole ones of every kind, and what is done to them.

Everything follows from the random numbers passed in. Nothing is opened here.
"""

from __future__ import annotations

import copy
import gzip
import io
import json
import os
import pickle
import random
import shutil
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["KINDS", "make_samples", "spoil"]

FIXTURES = Path(__file__).parents[2] / "tests" / "fixtures" / "v0_1"
#: What a hostile pickle would write, if it were ever run.
MARK = "napari-promise-fuzz-ran"

IMAGES = ("png", "jpg", "tif", "npy", "nii", "nii.gz", "dcm")
KINDS = (
    *(f"image {ending}" for ending in IMAGES),
    *(f"mask {ending}" for ending in ("png", "tif", "npy", "nii.gz")),
    "prompts",
    "project",
    "adapter folder",
    "adapter file",
    "checkpoint pth",
    "checkpoint safetensors",
    "table",
    "preferences",
    "cached embedding",
    "cached view",
    "run state",
    "command line",
)


class Hostile:
    """Pickled, it writes a file as soon as something unpickles it."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.mark}",)


# Whole files -------------------------------------------------------------------------


def make_samples(folder: Path) -> None:
    """Write one whole file or folder of every kind; what they hold is small."""
    import nibabel
    import pydicom
    import tifffile
    import torch
    from PIL import Image
    from safetensors.torch import save_file

    from napari_promise.document import Document
    from napari_promise.project import Project
    from scripts.checks.file_experiments import write_dicom

    folder.mkdir(parents=True)
    random_numbers = np.random.default_rng(0)
    rgb = random_numbers.integers(0, 255, (40, 48, 3), np.uint8)
    stack = random_numbers.integers(0, 900, (3, 40, 48)).astype(np.int16)
    ids = np.zeros((40, 48), np.uint8)
    ids[8:20, 10:30], ids[24:34, 20:40] = 1, 2
    for kind, picture in (("image", rgb), ("mask", ids)):
        Image.fromarray(picture).save(folder / f"{kind}.png")
        tifffile.imwrite(folder / f"{kind}.tif", picture, compression="zlib")
        np.save(folder / f"{kind}.npy", picture if kind == "mask" else stack)
        volume = np.stack([ids] * 3).T if kind == "mask" else stack.T
        for ending in ("nii", "nii.gz"):
            nibabel.save(
                nibabel.Nifti1Image(volume, np.diag([0.5, 0.6, 2.0, 1.0])),
                folder / f"{kind}.{ending}",
            )
    Image.fromarray(rgb).save(folder / "image.jpg")
    write_dicom(folder / "image.dcm", stack[0])
    assert pydicom.dcmread(folder / "image.dcm").Rows == 40
    shutil.copy(FIXTURES / "a.prompts.json", folder / "prompts.json")
    shutil.copy(FIXTURES / "preferences.json", folder / "preferences.json")
    shutil.copy(FIXTURES / "small.promise-adapter", folder)
    for name in ("adapter", "embeddings", "views", "run"):
        shutil.copytree(FIXTURES / name, folder / name)
    for name in ("project 0.1", "project"):
        shutil.copytree(FIXTURES / "project", folder / name)
    with Project.open(folder / "project") as project:  # as this version writes it
        for item in project.items:
            if item.state not in ("new", "proposed"):
                document = Document()
                labels = project.restore(item.key, document)
                project.save(item.key, document, labels)
    tensors = {
        "mask_decoder.iou_token.weight": torch.zeros(1, 32),
        "image_encoder.pos_embed": torch.zeros(1, 4, 4, 8),
    }
    save_file(tensors, folder / "checkpoint.safetensors")
    torch.save(tensors, folder / "checkpoint.pth")
    (folder / "table.csv").write_text(
        "image,mask,group\nimage.png,mask.png,a\nimage.tif,mask.tif,b\n"
    )


# What is done to bytes ---------------------------------------------------------------


def _flip(content: bytes, chance: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(chance.choice((1, 4, 32))):
        if changed:
            changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def _flip_head(content: bytes, chance: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(chance.choice((1, 2, 8))):
        if changed:
            at = chance.randrange(min(len(changed), chance.choice((16, 64, 400))))
            changed[at] = chance.choice((0, 255, 127, 128, chance.randrange(256)))
    return bytes(changed)


def _cut(content: bytes, chance: random.Random) -> bytes:
    return content[: chance.randrange(len(content) + 1)]


def _cut_end(content: bytes, chance: random.Random) -> bytes:
    return content[: -chance.randrange(1, 20)]


def _fill(content: bytes, chance: random.Random) -> bytes:
    at, length = chance.randrange(len(content) + 1), chance.choice((4, 8, 64))
    value = chance.choice((b"\0", b"\xff", b"\x7f", b"A"))
    return content[:at] + value * length + content[at + length :]


def _insert(content: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(content) + 1)
    return content[:at] + chance.randbytes(chance.choice((1, 7, 512))) + content[at:]


def _noise(content: bytes, chance: random.Random) -> bytes:
    return chance.randbytes(chance.choice((0, 1, 9, 200, 5000)))


def _text(content: bytes, chance: random.Random) -> bytes:
    return chance.choice(
        (
            b"<!DOCTYPE html><html><body>404 Not Found</body></html>",
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
            b"\xff\xfe\x00h\x00i",
            b"{}",
            b"[]",
            b"null",
            b"NaN",
            b"\n\n\n",
        )
    )


def _pickle_of_a_stranger(content: bytes, chance: random.Random, mark: Path) -> bytes:
    return pickle.dumps(Hostile(mark), protocol=chance.choice((0, 2, 4)))


_BYTES: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    *(_flip, _flip, _flip_head, _flip_head, _cut, _cut_end),
    *(_fill, _insert, _noise, _text),
)

# What is done to JSON ----------------------------------------------------------------


def _odd_value(chance: random.Random) -> Any:
    deep: Any = 1
    for _ in range(200):
        deep = [deep]
    return chance.choice(
        (None, True, -1, 0, 2, 10**18, 10**400, 1e308, float("nan"), float("inf"))
        + ("", "x", "../../../etc/passwd", "\0", "1" * 5000, [], {}, [[]], {"a": 1})
        + ([10**6] * 3, [10**12, 10**12], [-1, -1], [float("nan")] * 4, deep)
    )


def _places(data: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    if isinstance(data, dict):
        for key, value in data.items():
            found += _places(value, (*path, key))
    elif isinstance(data, list):
        for at, value in enumerate(data[:40]):
            found += _places(value, (*path, at))
    return found


def _spoil_json(text: bytes, chance: random.Random) -> bytes:
    """Swap values and types, drop and add fields, or nest it too deep."""
    if chance.random() < 0.06:
        deep = chance.choice((500, 5000, 200_000))
        return b"[" * deep + b"]" * deep
    if chance.random() < 0.04:
        return b'{"a":' * 100_000 + b"1" + b"}" * 100_000
    data = json.loads(text)
    for _ in range(chance.choice((1, 1, 2, 5))):
        places = _places(data)
        if not places:
            return json.dumps(_odd_value(chance)).encode()
        # Short paths are few and matter most: as likely as all the long ones.
        depth = chance.choice(sorted({len(place) for place in places}))
        path = chance.choice([place for place in places if len(place) == depth])
        parent = data
        for step in path[:-1]:
            parent = parent[step]
        if chance.random() < 0.25 and isinstance(parent, dict):
            del parent[path[-1]]
        elif chance.random() < 0.1 and isinstance(parent, dict):
            parent["unknown"] = _odd_value(chance)
        else:
            value = parent[path[-1]]
            new = _odd_value(chance)
            if chance.random() < 0.3 and isinstance(value, (int, float)):
                new = chance.choice((-value - 1, value * 10**9, str(value), [value]))
            parent[path[-1]] = copy.deepcopy(new)
    return json.dumps(data).encode()


def _spoil_lines(content: bytes, chance: random.Random) -> bytes:
    lines = content.splitlines(keepends=True)
    if not lines:
        return b"{"
    at = chance.randrange(len(lines))
    try:
        lines[at] = _spoil_json(lines[at], chance) + b"\n"
    except ValueError:
        lines[at] = _flip(lines[at], chance)
    return b"".join(lines)


# What is done to zip files -----------------------------------------------------------


def _spoil_zip(content: bytes, chance: random.Random) -> bytes:
    """Change one member, or what the file says of its members."""
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        comment = file.comment
        members = [(info.filename, file.read(info)) for info in file.infolist()]
    at = chance.randrange(len(members))
    name, inner = members[at]
    how = chance.choice(("inner", "inner", "inner", "bomb", "names", "twice", "gone"))
    if how == "inner":
        if name.endswith(".json") and chance.random() < 0.8:
            inner = _spoil_json(inner, chance)
        elif name.endswith(".npy") and chance.random() < 0.7:
            inner = _absurd_npy(inner, chance, None)
        else:
            inner = chance.choice(_BYTES)(inner, chance)
        members[at] = name, inner
    elif how == "names":
        odd = ("../../outside.txt", "/tmp/outside.txt", "C:\\x", "a/../../b", "", "\n")
        members.append((chance.choice(odd), b"outside"))
        if chance.random() < 0.5:
            members[at] = chance.choice(odd), inner
    elif how == "twice":
        members.append((name, inner[::-1]))
    elif how == "gone":
        del members[at]
    if how == "bomb":
        return _bomb(members, at, comment, chance.choice((50, 1100, 3000)))
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as file:
        file.comment = comment
        for name, inner in members:
            info = zipfile.ZipInfo(name or " ")
            info.compress_type = zipfile.ZIP_DEFLATED
            file.writestr(info, inner)
    return out.getvalue()


def _blanks(megabytes: int, byte: bytes = b" ") -> bytes:
    """Return so many megabytes of one byte, deflated: the same piece over and over."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    piece = packer.compress(byte * 2**20) + packer.flush(zlib.Z_FULL_FLUSH)
    return piece * megabytes + packer.flush()


def _bomb(
    members: list[tuple[str, bytes]], bad: int, comment: bytes, megabytes: int
) -> bytes:
    """Make a member into so many megabytes of blanks, which pack very small."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        file.comment = comment
        for at, (name, inner) in enumerate(members):
            file.writestr(name, _blanks(megabytes) if at == bad else inner)
        info = file.infolist()[bad]
        info.compress_type, info.file_size = zipfile.ZIP_DEFLATED, megabytes * 2**20
    return out.getvalue()


# Absurd headers ----------------------------------------------------------------------


def _absurd_npy(content: bytes, chance: random.Random, mark: Path | None) -> bytes:
    shapes = [(10**6, 10**6), (2**62,), (2**40, 1, 1), (0, 5), (-3, 4), (3,) * 40]
    shapes += [(60_000, 60_000), (1, 30_000, 30_000), (), (5,), (40, 48, 3, 1)]
    types = ["|O", "<f8", "<c16", "|S5", "<U9", "<M8[s]", "|V12", "<f2", ">u8", "|b1"]
    header: dict[str, Any] = {
        "descr": chance.choice(types),
        "fortran_order": chance.random() < 0.3,
        "shape": chance.choice(shapes),
    }
    if chance.random() < 0.2:
        header["descr"] = [("a", "<i4"), ("b", "|O")]
    out = io.BytesIO()
    text = repr(header).encode() if chance.random() < 0.8 else b"(" * 9000
    out.write(b"\x93NUMPY\x02\x00" + struct.pack("<I", len(text) + 1) + text + b"\n")
    if mark is not None and chance.random() < 0.6:
        out = io.BytesIO()
        np.save(out, np.array([Hostile(mark)] * 4, object).reshape(2, 2))
        return out.getvalue()
    out.write(chance.choice((b"", chance.randbytes(99), content)))
    return out.getvalue()


def _odd_numbers(chance: random.Random) -> bytes:
    values = np.full((40, 48), chance.choice((np.nan, np.inf, -np.inf, 1e38, 2.5)))
    if chance.random() < 0.5:
        values[:20] = chance.choice((0.0, 1.0, -1.0, 1e30))
    kind = chance.choice((np.float16, np.float32, np.float64, np.complex64))
    out = io.BytesIO()
    with np.errstate(over="ignore"):
        np.save(out, values.astype(kind))
    return out.getvalue()


def _absurd_png(content: bytes, chance: random.Random) -> bytes:
    sizes = (0, 1, 2**31 - 1, 2**32 - 1, 20_000, 70_000)
    head = struct.pack(">II", chance.choice(sizes), chance.choice(sizes))
    kind = bytes((chance.choice((1, 8, 16, 33)), chance.choice((0, 2, 3, 4, 6, 7))))
    head = b"IHDR" + head + kind + bytes((0, 0, chance.choice((0, 1))))
    if chance.random() < 0.3:  # a picture that unpacks to very much
        side = chance.choice((6_000, 17_000))
        head = b"IHDR" + struct.pack(">II", side, side) + b"\x08\x02\0\0\0"
        size = side * (3 * side + 1)
        check = struct.pack(">I", (size % 65521) << 16 | 1)  # Adler's, of zeros
        body = b"\x78\x01" + _blanks(size // 2**20 + 1, b"\0") + check
        pieces = (head, b"IDAT" + body, b"IEND")
        return content[:8] + b"".join(
            struct.pack(">I", len(p) - 4) + p + struct.pack(">I", zlib.crc32(p))
            for p in pieces
        )
    return content[:12] + head + struct.pack(">I", zlib.crc32(head)) + content[33:]


def _absurd_nifti(content: bytes, chance: random.Random) -> bytes:
    head = bytearray(content)
    for _ in range(chance.choice((1, 2, 3))):
        where = chance.choice(("dim", "zoom", "type", "offset", "affine", "slope"))
        if where == "dim":
            number = chance.choice((32767, -1, 0, 7, 20_000))
            struct.pack_into("<h", head, 40 + 2 * chance.randrange(8), number)
        elif where == "zoom":
            value = chance.choice((np.nan, np.inf, 0, -2, 1e38))
            struct.pack_into("<f", head, 76 + 4 * chance.randrange(8), value)
        elif where == "type":
            struct.pack_into("<h", head, 70, chance.choice((0, 1, 32, 128, 1536, 99)))
        elif where == "offset":
            value = chance.choice((np.nan, -1e9, 1e30, 0, 353))
            struct.pack_into("<f", head, 108, value)
        elif where == "affine":
            struct.pack_into(
                "<f", head, 280 + 4 * chance.randrange(12), chance.choice((np.nan, 0))
            )
        else:
            value = chance.choice((np.nan, np.inf, 1e38, 0.1))
            struct.pack_into("<f", head, 112 + 4 * chance.randrange(2), value)
    return bytes(head)


def _bomb_nifti(content: bytes, chance: random.Random) -> bytes:
    """Write a head of few bytes, and gigabytes of zeros behind it."""
    head = bytearray(content[:352])
    side = chance.choice((700, 1000))
    struct.pack_into("<4h", head, 40, 3, side, side, side)
    size = side**3 * 2
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    begun = packer.compress(bytes(head)) + packer.flush(zlib.Z_FULL_FLUSH)
    rest = _blanks(chance.choice((1, size // 2**20 + 1)), b"\0")
    end = struct.pack("<II", 0, (352 + size) % 2**32)
    return b"\x1f\x8b\x08" + bytes(6) + b"\xff" + begun + rest + end


def _absurd_tiff(content: bytes, chance: random.Random) -> bytes:
    """Change the numbers in the first directory of a little-endian TIFF file."""
    changed = bytearray(content)
    (start,) = struct.unpack_from("<I", changed, 4)
    (count,) = struct.unpack_from("<H", changed, start)
    for _ in range(chance.choice((1, 2, 4))):
        at = start + 2 + 12 * chance.randrange(count)
        where = chance.choice(("value", "value", "count", "type", "tag"))
        number = chance.choice((0, 1, 3, 5, 65_535, 2**31 - 1, 2**32 - 1, start, 8))
        if where == "value":
            struct.pack_into("<I", changed, at + 8, number)
        elif where == "count":
            struct.pack_into("<I", changed, at + 4, number)
        elif where == "type":
            struct.pack_into("<H", changed, at + 2, chance.randrange(20))
        else:
            struct.pack_into("<H", changed, at, chance.choice((256, 258, 262, 270)))
    if chance.random() < 0.2:  # a directory that is its own successor
        struct.pack_into("<I", changed, start + 2 + 12 * count, start)
    return bytes(changed)


def _absurd_dicom(content: bytes, chance: random.Random) -> bytes:
    import pydicom

    data = pydicom.dcmread(io.BytesIO(content))
    for _ in range(chance.choice((1, 2))):
        what = chance.choice(("Rows", "Columns", "BitsAllocated", "Samples", "frames"))
        number = chance.choice((0, 1, 7, 65_535))
        if what == "Samples":
            data.SamplesPerPixel = chance.choice((0, 2, 3, 9))
        elif what == "frames":
            data.NumberOfFrames = chance.choice((0, 7, 2**31 - 1))
        else:
            setattr(data, what, number)
    if chance.random() < 0.3:
        name = chance.choice(("PixelData", "PhotometricInterpretation", "Rows"))
        if name in data:
            delattr(data, name)
    if chance.random() < 0.3:
        data.file_meta.TransferSyntaxUID = chance.choice(
            (pydicom.uid.JPEGBaseline8Bit, pydicom.uid.RLELossless, "1.2.3")
        )
    if chance.random() < 0.3:
        data.PixelSpacing = chance.choice((["0", "0"], ["-1", "1"], ["1e9", "1"]))
    out = io.BytesIO()
    pydicom.dcmwrite(out, data, enforce_file_format=False)
    return out.getvalue()


def _absurd_safetensors(content: bytes, chance: random.Random) -> bytes:
    (length,) = struct.unpack_from("<Q", content)
    if chance.random() < 0.4:
        number = chance.choice((0, 1, 2**63, 2**64 - 1, 10**12, len(content)))
        return struct.pack("<Q", number) + content[8:]
    head = _spoil_json(content[8 : 8 + length], chance)
    return struct.pack("<Q", len(head)) + head + content[8 + length :]


def _spoil_csv(content: bytes, chance: random.Random) -> bytes:
    return chance.choice(
        (
            content.replace(b"image.png", b"../../../../etc/passwd"),
            content.replace(b"image.png", b"x\0y"),
            content.replace(b"image.png", b"n" * 5000),
            content.replace(b"image.png", b'"' + b"q" * 200_000),
            content.replace(b",", b";"),
            content.replace(b"\n", b"\r"),
            content.replace(b"image,", b"picture,"),
            content.decode().encode("utf-16"),
            content + b"a,b,c,d,e,f\n" * 20_000,
            content.replace(b"mask.png", b"."),
            b"image,image\nimage.png\n",
            b"image\n" + b",\n" * 1000,
        )
    )


def _hostile_archive(content: bytes, chance: random.Random, mark: Path) -> bytes:
    """Put a hostile pickle in the place of the one that torch keeps in its zip."""
    out = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(content)) as old,
        zipfile.ZipFile(out, "w") as new,
    ):
        for info in old.infolist():
            inner = old.read(info)
            if info.filename.endswith("data.pkl"):
                inner = _pickle_of_a_stranger(inner, chance, mark)
            new.writestr(info.filename, inner)
    return out.getvalue()


# One case ----------------------------------------------------------------------------

_ABSURD: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "png": _absurd_png,
    "tif": _absurd_tiff,
    "nii": _absurd_nifti,
    "dcm": _absurd_dicom,
    "safetensors": _absurd_safetensors,
    "json": _spoil_json,
    "jsonl": _spoil_lines,
    "zip": _spoil_zip,
    "promise-adapter": _spoil_zip,
    "csv": _spoil_csv,
}
_SHARE_OF_BYTES = 0.5


def _spoil_file(path: Path, samples: Path, chance: random.Random, mark: Path) -> str:
    """Do one thing to a file; returns what."""
    content = path.read_bytes()
    ending = path.name.split(".", 1)[-1] if "." in path.name else ""
    ending = ending if ending in ("nii.gz",) else path.suffix[1:]
    draw = chance.random()
    if draw < 0.06:
        others = [p for p in samples.iterdir() if p.is_file()]
        other = chance.choice(sorted(others))
        path.write_bytes(other.read_bytes())
        return f"is {other.name}"
    if draw < 0.12 or (ending in ("pth", "state") and draw < 0.45):
        make = _pickle_of_a_stranger
        if ending in ("pth", "state") and draw > 0.2:
            make = _hostile_archive
        path.write_bytes(make(content, chance, mark))
        return "hostile pickle"
    if draw > _SHARE_OF_BYTES:
        if ending == "npy":
            if chance.random() < 0.4:
                path.write_bytes(_odd_numbers(chance))
                return "odd numbers"
            path.write_bytes(_absurd_npy(content, chance, mark))
            return "absurd npy"
        if ending == "nii.gz":
            plain = gzip.decompress(content)
            if chance.random() < 0.2:
                path.write_bytes(_bomb_nifti(plain, chance))
                return "bomb"
            plain = chance.choice((_absurd_nifti, *_BYTES))(plain, chance)
            path.write_bytes(gzip.compress(plain, 1))
            return "spoilt inside gzip"
        if ending in _ABSURD:
            path.write_bytes(_ABSURD[ending](content, chance))
            return _ABSURD[ending].__name__.strip("_")
    spoil_bytes = chance.choice(_BYTES)
    path.write_bytes(spoil_bytes(content, chance))
    return spoil_bytes.__name__.strip("_")


def spoil(kind: str, samples: Path, folder: Path, seed: str) -> tuple[Path, str]:
    """Make one case.

    Parameters
    ----------
    kind : str
        One of `KINDS`.
    samples : Path
        What `make_samples` wrote.
    folder : Path
        An empty one for this case.
    seed : str
        The same gives the same case.

    Returns
    -------
    Path
        What is to be opened.
    str
        What was done to it.
    """
    chance = random.Random(seed)
    mark = folder.parent / MARK
    group, _, rest = kind.partition(" ")
    if group in ("image", "mask"):
        path = Path(shutil.copy(samples / f"{group}.{rest}", folder))
    elif kind == "project":
        name = chance.choice(("project", "project", "project 0.1"))
        path = Path(shutil.copytree(samples / name, folder / "project"))
        inner = [p for p in sorted((path / ".promise").rglob("*")) if p.is_file()]
        inner = [p for p in inner if p.name != "lock"]
        ways = []
        for _ in range(chance.choice((1, 1, 2, 4))):
            bad = chance.choice(inner)
            try:
                ways.append(f"{bad.name}: {_spoil_file(bad, samples, chance, mark)}")
            except (ValueError, zipfile.BadZipFile):  # spoilt twice
                ways.append(f"{bad.name}: twice")
        return path, ", ".join(ways)
    elif kind == "adapter folder":
        path = Path(shutil.copytree(samples / "adapter", folder / "adapter"))
        bad = chance.choice(sorted(path.iterdir()))
        return path, f"{bad.name}: {_spoil_file(bad, samples, chance, mark)}"
    elif group == "cached" or kind == "run state":
        name = {"cached embedding": "embeddings", "cached view": "views"}.get(kind)
        path = Path(shutil.copytree(samples / (name or "run"), folder / "cache"))
        inner = [p for p in sorted(path.rglob("*")) if p.is_file()]
        bad = chance.choice(inner)
        return path, f"{bad.name}: {_spoil_file(bad, samples, chance, mark)}"
    elif kind == "table":
        for name in ("image.png", "mask.png", "image.tif", "mask.tif"):
            shutil.copy(samples / name, folder)
        path = Path(shutil.copy(samples / "table.csv", folder))
    elif kind == "command line":
        names = ("image.png", "image.nii.gz", "prompts.json", "small.promise-adapter")
        name = chance.choice((*names, "mask.png", "checkpoint.pth"))
        path = Path(shutil.copy(samples / name, folder))
    else:
        name = {
            "prompts": "prompts.json",
            "adapter file": "small.promise-adapter",
            "checkpoint pth": "checkpoint.pth",
            "checkpoint safetensors": "checkpoint.safetensors",
            "preferences": "preferences.json",
        }[kind]
        path = Path(shutil.copy(samples / name, folder))
    return path, _spoil_file(path, samples, chance, mark)

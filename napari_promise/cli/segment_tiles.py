"""An image as `segment` sees it: read and encoded by tile, labels written by tile.

Pictures that fit into memory are read whole; pyramids only where a model looks.
"""

from __future__ import annotations

import contextlib
import math
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from napari_promise.data.embeddings import EmbeddingCache
    from napari_promise.data.images import OpenedImage
    from napari_promise.data.pyramids import Pyramid
    from napari_promise.document import BBox, Plane, Region
    from napari_promise.model.sam import Embedding
    from napari_promise.segmenter import Segmenter

__all__ = ["ImageInTiles", "LabelsInTiles", "PlaneInTiles", "embed", "is_zarr"]


def is_zarr(path: Path) -> bool:
    """Whether labels go into an OME-Zarr folder."""
    return path.name.lower().endswith(".zarr")


@dataclass(frozen=True)
class ImageInTiles:
    """An image file, opened.

    Attributes
    ----------
    source : OpenedImage or Pyramid
    """

    source: OpenedImage | Pyramid

    @classmethod
    def open(cls, path: Path) -> ImageInTiles:
        """Open an image; what comes in levels is not read yet."""
        from napari_promise.data.images import read_image
        from napari_promise.data.pyramids import open_pyramid

        pyramid = open_pyramid(path)
        return cls(read_image(path) if pyramid is None else pyramid)

    @property
    def planes(self) -> list[Plane]:
        """Every plane's leading indices."""
        import numpy as np

        return list(np.ndindex(self.source.shape[:-2]))

    def read(
        self, plane: Plane, tile: BBox | None, limits: tuple[float, float] | None
    ) -> npt.NDArray[np.uint8]:
        """Return a tile as SAM sees it; its contrast is the whole plane's."""
        from napari_promise.data.pyramids import Pyramid
        from napari_promise.document import Tile

        if isinstance(self.source, Pyramid):
            return self.source.rgb8(Tile(plane, tile), limits)
        whole = self.source.rgb8(plane, limits)
        return whole if tile is None else whole[tile[0] : tile[2], tile[1] : tile[3]]


class PlaneInTiles:
    """The embeddings of one plane, by tile; each is made once.

    Parameters
    ----------
    image : ImageInTiles
    plane : Plane
    limits : (float, float) or None
        The values shown black and white.
    segmenter : Segmenter
    embeddings : EmbeddingCache or None
        Where they are kept for later, shared with the window.
    """

    #: So many embeddings are held, the latest.
    KEPT = 16

    def __init__(
        self,
        image: ImageInTiles,
        plane: Plane,
        limits: tuple[float, float] | None,
        segmenter: Segmenter,
        embeddings: EmbeddingCache | None,
    ) -> None:
        self._image, self._plane, self._limits = image, plane, limits
        self._segmenter, self._cache = segmenter, embeddings
        self._known: OrderedDict[BBox | None, Embedding] = OrderedDict()
        self._digest = ""
        rows, columns = image.source.shape[-2:]
        self.shape = rows, columns

    def __call__(self, tile: BBox | None = None) -> Embedding:
        """Return the embedding of a tile, of the whole plane for None."""
        if tile in self._known:
            self._known.move_to_end(tile)
        else:
            self._known[tile] = self._embedding(tile)
        while len(self._known) > self.KEPT:
            self._known.popitem(last=False)
        return self._known[tile]

    def pixels(self, tile: BBox | None = None) -> npt.NDArray[np.uint8]:
        """Return a tile as SAM sees it, (h, w, 3)."""
        return self._image.read(self._plane, tile, self._limits)

    @property
    def digest(self) -> str:
        """The name of the pixels that were seen: of the whole plane, or the first."""
        if not self._digest:
            self(None)
        return self._digest

    def _embedding(self, tile: BBox | None) -> Embedding:
        from napari_promise.data.planes import digest_of_part

        pixels = self.pixels(tile)
        if tile is None or not self._digest:
            self._digest = digest_of_part(pixels, tile, self.shape)
        name = self._image.source.name
        return embed(self._segmenter, pixels, self._cache, name, tile, self.shape)


def embed(
    segmenter: Segmenter,
    rgb8: npt.NDArray[np.uint8],
    embeddings: EmbeddingCache | None,
    name: str,
    tile: BBox | None = None,
    shape: tuple[int, int] | None = None,
) -> Embedding:
    """Return the embedding, encoding only what no session has encoded before.

    Parameters
    ----------
    segmenter : Segmenter
    rgb8 : (h, w, 3) uint8
        The plane, or a tile of it.
    embeddings : EmbeddingCache or None
    name : str
        Of the image, for people who look into the cache.
    tile : BBox, optional
        Where the pixels lie in the plane; left out, they are all of it.
    shape : (int, int), optional
        Rows and columns of the plane at full resolution; left out, of the pixels.
    """
    from napari_promise.data.embeddings import key_of
    from napari_promise.data.planes import digest_of_part

    plane = shape or (rgb8.shape[0], rgb8.shape[1])
    key = key_of(digest_of_part(rgb8, tile, plane), segmenter)
    arrays = None if embeddings is None else embeddings.get(key)
    if arrays is not None:
        with contextlib.suppress(ValueError):  # not whole: encoded anew
            return segmenter.restore(arrays)
    if tile is None and rgb8.shape[:2] == plane:
        embedding = segmenter.encode(rgb8)
    else:
        embedding = segmenter.encode(rgb8, region=tile, plane_shape=plane)
    if embeddings is not None:
        embeddings.put(key, embedding.to_arrays(), {"image": name})
    return embedding


class LabelsInTiles:
    """The labels of an image, in memory or, for a zarr folder, on disk.

    Parameters
    ----------
    shape : tuple of int
    on_disk : bool
    """

    #: Labels of more pixels are written by tile, into a zarr folder.
    MOST = 2**28

    def __init__(self, shape: tuple[int, ...], *, on_disk: bool) -> None:
        import numpy as np

        from napari_promise.data.label_store import LabelStore

        self.any = False
        self.store: LabelStore | None = None
        self.array: npt.NDArray[np.int64] | None = None
        if on_disk:
            self.store = LabelStore(shape)
        elif math.prod(shape) > self.MOST:
            raise ValueError(
                f"labels of {math.prod(shape):,} pixels do not fit into one array: "
                "write them as OME-Zarr, with --format zarr."
            )
        else:
            self.array = np.zeros(shape, np.int64)

    def write(self, plane: Plane, region: Region | None, number: int) -> None:
        """Write an object, where there is none yet."""
        if region is None:
            return
        r0, c0, r1, c1 = region.bbox
        if self.array is not None:
            target = self.array[plane][r0:r1, c0:c1]
        else:
            assert self.store is not None
            target = self.store[plane][r0:r1, c0:c1]
        target[region.crop & (target == 0)] = number
        self.any = self.any or bool(target.any())
        if self.store is not None:
            self.store.write(plane, region.bbox, target)

    def save(
        self,
        path: Path,
        source: OpenedImage | Pyramid,
        *,
        metadata: Mapping[str, Any],
        image: Mapping[str, Any],
        classes: Mapping[int, str],
        overwrite: bool,
    ) -> None:
        """Write the labels where they shall be."""
        from napari_promise.data import export

        if self.store is not None:
            scale = source.place.scale
            export.save_ome_zarr_labels(
                path,
                self.store,
                scale=scale,
                unit=source.place.unit if scale is not None else None,
                classes=classes,
                metadata={**metadata, "image": dict(image)},
                overwrite=overwrite,
            )
            return
        assert self.array is not None
        values, placement = source.place.labels_as_in_file(self.array)
        export.save_labels(
            path,
            values,
            **placement,
            metadata=dict(metadata),
            image=dict(image),
            as_mask=True,
            overwrite=overwrite,
        )

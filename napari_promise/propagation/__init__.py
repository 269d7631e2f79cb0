"""From planes that somebody drew to the whole object, plane by plane.

No napari and no threads: `Propagator` is handed embeddings and pixels, and answers as
an iterator that may be left at any plane.
"""

from napari_promise.propagation.propagator import Propagator
from napari_promise.propagation.results import PlaneResult, Source
from napari_promise.propagation.rules import Rules
from napari_promise.propagation.volume import propagate

__all__ = ["PlaneResult", "Propagator", "Rules", "Source", "propagate"]

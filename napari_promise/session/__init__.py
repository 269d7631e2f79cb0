"""The session: what the user set, the image on display, one worker that computes.

Wishes come in as method calls, facts go out as signals. Whoever calls never waits for
the model, for pixels or for a disk; torch itself is imported by the worker only.

How a click is answered:

1. The document's prompts change. Where `Settings.live` is on the session notices,
   else somebody calls `Session.segment`. A request (`requests`) holds the object, its
   plane, its revision and its prompts; a newer request of the same object replaces it.
2. The worker takes the most urgent task (`queue`): load a model, set an adapter,
   answer a request, encode the plane on display, put embeddings on disk, encode the
   planes ahead, take a step of a long job (`Job`: training, a whole folder). A request
   whose plane has no embedding yet waits until it is encoded (`embeddings`). How each
   task is done is in `worker`.
3. The answer is handed to `dispatch`, which brings it to the window's thread. There
   the document drops it if the object has changed meanwhile, whatever plane or
   image is on display by then (`answers`).
"""

from napari_promise.session.contracts import Job, JobContext, Loader
from napari_promise.session.order import Order
from napari_promise.session.results import DragAnswer, SegmentResult, State, Status
from napari_promise.session.session import Session
from napari_promise.session.settings import Settings
from napari_promise.session.sources import ArraySource, ImageSource

__all__ = [
    "ArraySource",
    "DragAnswer",
    "ImageSource",
    "Job",
    "JobContext",
    "Loader",
    "SegmentResult",
    "Order",
    "Session",
    "Settings",
    "State",
    "Status",
]

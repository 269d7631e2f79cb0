"""An image encoder that is somewhere else: asked, awaited, asked again.

`RemoteEncoder` sends pixels to whichever worker is free and brings embeddings back. It
outlives a lost connection and killed workers. For one thread.
"""

from __future__ import annotations

import asyncio
import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError as FuturesCancelled
from concurrent.futures import Future as FuturesFuture
from concurrent.futures import wait
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_promise.files import one_line
from napari_promise.model.weights import Cancelled
from napari_promise.remote import working
from napari_promise.remote.security import (
    Address,
    Credentials,
    checked_address,
    knock,
    load_credentials,
    require_extra,
)

if TYPE_CHECKING:
    from distributed import Client, Future

__all__ = ["RemoteEncoder", "RemoteError", "Server", "find_server"]

#: Seconds between attempts to connect again; the last one from then on.
PAUSES = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
#: Seconds that dask may take to connect where something answered already.
_CONNECT_SECONDS = 60.0
#: How often it is asked whether to give up.
_TICK = 0.02
#: An image whose worker died so often is refused; dask itself tries twice each time.
_ATTEMPTS = 2
#: Images that were given up, whose results are kept all the same.
_LEFT_BEHIND = 8
#: Seconds after which workers are counted again, and that the answer may take.
_COUNT_AGAIN, _COUNT_PATIENCE = 5.0, 2.0
#: Of dask: what somebody waits for goes before what will be asked for later.
_NOW, _AHEAD = 10, 0


class RemoteError(RuntimeError):
    """The worker could not do it: what it said, in one line."""


@dataclass(frozen=True)
class Server:
    """Where to encode, and with which rights.

    Attributes
    ----------
    address : Address
    credentials : Credentials or None
        None for plain connections.
    """

    address: Address
    credentials: Credentials | None = None


@dataclass
class _Sent:
    """An image on its way."""

    future: Future
    ahead: bool
    attempts: int = 1


def find_server(
    address: str, certificate: str | Path | None = None, *, plain: bool = False
) -> Server:
    """Read an address and a certificate, and find out whether they let us in.

    Parameters
    ----------
    address : str
        ``tls://host:port``.
    certificate : str or pathlib.Path, optional
        The server's ``client.pem``.
    plain : bool
        See `checked_address`.

    Raises
    ------
    ValueError
        If one of them cannot be read, or the address is not safe.
    PermissionError, ConnectionError
        See `knock`.
    """
    require_extra()
    found = checked_address(address, plain=plain)
    credentials = None
    if found.scheme == "tls" and certificate:
        credentials = load_credentials(certificate)
    knock(found, credentials)
    return Server(found, credentials)


class RemoteEncoder:
    """Encodes on the workers of a server.

    Parameters
    ----------
    server : Server
    model : str
        A registered name, or a checkpoint of the workers' computers.
    mode : str
        How they are to encode, see `model.fast_encoder`.
    notify : callable, optional
        Told in one line when the connection is lost, and when it is back.
    waiting : callable, optional
        Told in a few words what it waits for, each time it tries again.

    Attributes
    ----------
    description : dict
        What a worker says of the model, see `working.describe`.
    """

    def __init__(
        self,
        server: Server,
        model: str = "promise-tiny",
        *,
        mode: str = "stock",
        notify: Callable[[str], None] | None = None,
        waiting: Callable[[str], None] | None = None,
    ) -> None:
        require_extra()
        self.server, self.model, self.mode = server, model, mode
        self._notify = notify or (lambda line: None)
        self._waiting = waiting or (lambda line: None)
        self._sent: OrderedDict[str, _Sent] = OrderedDict()
        self._upcoming: Iterator[NDArray[np.uint8]] | None = None
        self._depth = 0
        self._workers, self._counted = 0, float("-inf")
        self._lost = 0  # attempts since the connection went
        self._connecting: FuturesFuture[Client] | None = None
        self._client: Client | None = self._made_client()
        self.description: dict[str, Any] = {}

    # -- what there is ------------------------------------------------------------

    @property
    def address(self) -> str:
        """Of the server."""
        return str(self.server.address)

    @property
    def workers(self) -> int:
        """Images that can be encoded at the same time, as last heard."""
        if time.monotonic() > self._counted + _COUNT_AGAIN:
            with suppress(OSError, RuntimeError, ValueError):
                counting = self._counting()
                wait([counting], timeout=_COUNT_PATIENCE)
                if counting.done():
                    self._note_workers(counting)
        return self._workers

    def load(self, cancel: Callable[[], bool] | None = None) -> dict[str, NDArray[Any]]:
        """Have a worker load the model; note what it says, return what decodes.

        Returns
        -------
        dict of str to numpy.ndarray
            The tensors of the prompt encoder and of the mask decoder.

        Raises
        ------
        ValueError
            If the workers run another version of this package, or have no such model.
        """
        from napari_promise import __version__

        self.description = self._run(working.describe, cancel)
        if self.description["version"] != __version__:
            raise ValueError(
                f"{self.server.address} runs napari-promise "
                f"{self.description['version']} and this is {__version__}: install the "
                "same version on both."
            )
        return working.unpack(self._run(working.decoder_of, cancel))

    def close(self) -> None:
        """Let go of the connection."""
        self._upcoming = None
        self._drop_client()

    # -- encoding -----------------------------------------------------------------

    def encode(
        self, rgb: NDArray[np.uint8], cancel: Callable[[], bool] | None = None
    ) -> dict[str, NDArray[Any]]:
        """Encode an image on a free worker, before whatever was asked for ahead.

        Parameters
        ----------
        rgb : (h, w, 3) uint8
            As SAM's frame takes it: what is larger only takes longer to send.
        cancel : callable, optional
            Asked often; where it answers True this gives up. What was sent is encoded
            all the same, and found when the image is asked for again.

        Returns
        -------
        dict of str to numpy.ndarray
            See `Embedding.to_arrays`.

        Raises
        ------
        Cancelled
            `cancel` answered True.
        RemoteError
            If the worker could not encode it, or died with it again and again.
        """
        key = _digest(rgb)
        self._drop_before(key)
        packed = self._gathered(key, *self._task(rgb), cancel)
        self._fill()
        return working.unpack(packed)

    def feed(self, images: Iterator[NDArray[np.uint8]], ahead: int = 0) -> None:
        """Say which images will be asked for, so that every worker has something to do.

        Parameters
        ----------
        images : iterator of (h, w, 3) uint8
            In the order in which `encode` will be called; others may be asked for in
            between, and some of these never. Read lazily: no more is read than is sent.
        ahead : int
            How many are on their way at most; 0 chooses twice the workers.
        """
        for key in [key for key, sent in self._sent.items() if sent.ahead]:
            del self._sent[key]
        self._upcoming, self._depth = iter(images), ahead
        self._fill()

    def _fill(self) -> None:
        """Send images ahead until enough are on their way."""
        if self._upcoming is None:
            return
        depth = self._depth or max(2, 2 * self.workers)
        while sum(sent.ahead for sent in self._sent.values()) < depth:
            rgb = next(self._upcoming, None)
            if rgb is None:
                self._upcoming = None
                return
            key = _digest(rgb)
            if key in self._sent:
                continue
            try:
                self._send(key, *self._task(rgb), priority=_AHEAD)
            except (OSError, RuntimeError):
                return  # who asks for it waits for the connection

    def _task(
        self, rgb: NDArray[np.uint8]
    ) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        """Return what a worker is to call for an image, and with what."""
        return working.encode, (
            self.model,
            self.mode,
            *working.pack({"rgb": rgb})["rgb"],
        )

    def _drop_before(self, key: str) -> None:
        """Forget what was sent ahead of an image and was never asked for."""
        sent = self._sent.get(key)
        if sent is not None and sent.ahead:
            for earlier in list(self._sent):
                if earlier == key:
                    break
                if self._sent[earlier].ahead:
                    del self._sent[earlier]
        behind = [k for k, other in self._sent.items() if not other.ahead and k != key]
        for left in behind[:-_LEFT_BEHIND]:
            del self._sent[left]

    # -- asking -------------------------------------------------------------------

    def _run(
        self,
        function: Callable[..., Any],
        cancel: Callable[[], bool] | None = None,
    ) -> Any:
        key = f"{function.__name__}-{self.model}-{self.mode}"
        return self._gathered(key, function, (self.model, self.mode), cancel)

    def _gathered(
        self,
        key: str,
        function: Callable[..., Any],
        arguments: tuple[Any, ...],
        cancel: Callable[[], bool] | None,
    ) -> Any:
        """Return what a function returns on a worker, however often it takes."""
        from distributed import CancelledError, KilledWorker

        while True:
            try:
                sent = self._sent.get(key)
                if sent is None:
                    sent = self._send(key, function, arguments, priority=_NOW)
                self._wait(sent.future, cancel)
                if sent.future.status == "error":
                    error = sent.future.exception(timeout=_CONNECT_SECONDS)
                    if not isinstance(error, KilledWorker):
                        del self._sent[key]
                        raise _told(error)
                    if sent.attempts >= _ATTEMPTS:
                        del self._sent[key]
                        raise RemoteError(
                            "the worker died with this image again and again: its "
                            "memory may be too small."
                        )
                    sent.attempts += 1
                    sent.future = self._submit(function, arguments, _NOW)
                    continue
                found = self._fetched(sent.future, cancel)
            except (OSError, CancelledError, FuturesCancelled, _Lost) as error:
                if isinstance(error, PermissionError):
                    raise
                self._drop_client()
                if not self._lost:
                    self._notify(
                        f"The connection to {self.server.address} is lost "
                        f"({one_line(error)}): trying again. What is encoded already "
                        "stays usable; images can be encoded on this computer instead."
                    )
                self._lost += 1
                self._pause(PAUSES[min(self._lost, len(PAUSES)) - 1], cancel)
                with suppress(_Lost):  # then the next round says so
                    self._connect(cancel)
                continue
            self._sent.pop(key, None)
            if self._lost:
                self._lost = 0
                self._notify(f"The connection to {self.server.address} is back.")
            return found

    def _send(
        self,
        key: str,
        function: Callable[..., Any],
        arguments: tuple[Any, ...],
        priority: int,
    ) -> _Sent:
        ahead = priority == _AHEAD
        sent = _Sent(self._submit(function, arguments, priority), ahead)
        self._sent[key] = sent
        return sent

    def _submit(
        self, function: Callable[..., Any], arguments: tuple[Any, ...], priority: int
    ) -> Future:
        """Send a function of this package, and nothing but plain values with it."""
        if function.__module__ != working.__name__:
            raise TypeError(f"{function.__module__} is not sent to workers")
        return self._connected().submit(
            function, *arguments, pure=False, priority=priority
        )

    def _wait(self, future: Future, cancel: Callable[[], bool] | None) -> None:
        """Wait until a future is done; raise where the connection goes meanwhile."""
        done = threading.Event()
        future.add_done_callback(lambda _future: done.set())
        since, told = time.monotonic(), False
        counting: FuturesFuture[Any] | None = None
        while not done.wait(_TICK):
            if cancel is not None and cancel():
                raise Cancelled("encoding cancelled")
            client = self._client
            if client is None or client.status != "running":
                raise _Lost("it was closed")
            # Asked without waiting for the answer: a line that went dead says nothing.
            if counting is None and time.monotonic() - since > 2:
                counting = self._counting()
            if counting is not None and counting.done():
                with suppress(OSError, RuntimeError, ValueError):
                    self._note_workers(counting)
                    if told != (not self._workers):
                        told = not told
                        what = "waiting for a worker" if told else "encoding"
                        self._waiting(f"connected, {what}")
                counting, since = None, time.monotonic()
        if future.status not in ("finished", "error"):
            raise _Lost("it was closed")

    def _fetched(self, future: Future, cancel: Callable[[], bool] | None) -> Any:
        """Bring a result here, however slow the line; may be given up meanwhile."""
        client = self._connected()
        coming = asyncio.run_coroutine_threadsafe(
            client.gather([future], asynchronous=True), client.loop.asyncio_loop
        )
        while not coming.done():
            wait([coming], timeout=_TICK)
            if cancel is not None and cancel():
                raise Cancelled("encoding cancelled")
            if client.status != "running":
                raise _Lost("it was closed")
        (found,) = coming.result()
        return found

    def _pause(self, seconds: float, cancel: Callable[[], bool] | None) -> None:
        """Wait before the next attempt, and say so."""
        self._waiting(f"connection lost, next try in {seconds:.0f} s")
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            if cancel is not None and cancel():
                raise Cancelled("encoding cancelled")
            time.sleep(_TICK)

    # -- the connection -----------------------------------------------------------

    def _connected(self) -> Client:
        if self._client is None or self._client.status != "running":
            raise _Lost("there is no connection")
        return self._client

    def _connect(self, cancel: Callable[[], bool] | None) -> None:
        """Connect again, in a thread: a network that is gone takes long to say so.

        Raises
        ------
        Cancelled
            `cancel` answered True; the attempt goes on and is taken up the next time.
        PermissionError
            If the server does not let us in any more.
        _Lost
            If it was in vain.
        """
        if self._connecting is None:
            attempt: FuturesFuture[Client] = FuturesFuture()

            def work() -> None:
                try:
                    attempt.set_result(self._made_client())
                except Exception as error:
                    attempt.set_exception(error)

            threading.Thread(
                target=work, name="napari-promise connecting", daemon=True
            ).start()
            self._connecting = attempt
        while not self._connecting.done():
            wait([self._connecting], timeout=_TICK)
            if cancel is not None and cancel():
                raise Cancelled("encoding cancelled")
        attempt, self._connecting = self._connecting, None
        try:
            self._client = attempt.result()
        except PermissionError:
            raise
        except (OSError, RuntimeError) as error:
            raise _Lost(one_line(error)) from error

    def _made_client(self) -> Client:
        """Connect; whatever dask would say of a failure, `knock` says better."""
        import dask
        from distributed import Client

        server = self.server
        knock(server.address, server.credentials)
        security = None if server.credentials is None else server.credentials.to_dask()
        # reconnecting is done here, where somebody can be told and can give it up
        with dask.config.set({"distributed.comm.timeouts.connect": _CONNECT_SECONDS}):
            return Client(
                str(server.address),
                security=security,
                timeout=_CONNECT_SECONDS,
                set_as_default=False,
                direct_to_workers=False,
            )

    def _counting(self) -> FuturesFuture[Any]:
        """Ask how many images can be encoded at a time, without waiting."""
        client = self._connected()
        return asyncio.run_coroutine_threadsafe(
            client.scheduler.ncores(), client.loop.asyncio_loop
        )

    def _note_workers(self, counting: FuturesFuture[Any]) -> None:
        self._workers = sum(int(n) for n in counting.result().values())
        self._counted = time.monotonic()

    def _drop_client(self) -> None:
        """Close what is left of a connection; futures of it are worth nothing."""
        self._sent.clear()
        client, self._client = self._client, None

        def close() -> None:
            assert client is not None
            with suppress(Exception):  # whatever a broken connection raises
                client.close(timeout=5)

        if client is not None:
            thread = threading.Thread(
                target=close, name="napari-promise closing", daemon=True
            )
            thread.start()
            thread.join(1)  # what is whole closes at once


class _Lost(RuntimeError):
    """The connection went."""


def _told(error: BaseException) -> Exception:
    """Return a worker's error as one to be raised here."""
    if isinstance(error, ValueError):
        return error
    return RemoteError(f"the worker says: {one_line(error)}")


def _digest(rgb: NDArray[np.uint8]) -> str:
    shape = "x".join(map(str, rgb.shape))
    pixels = np.ascontiguousarray(rgb)
    return f"{shape}-{hashlib.blake2b(pixels.data, digest_size=16).hexdigest()}"

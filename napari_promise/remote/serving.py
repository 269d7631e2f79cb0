"""A scheduler and its workers in processes of their own: dask's, with our rules.

Workers listen on this computer alone; one port, the scheduler's, is open to others. A
worker that dies is started again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from napari_promise.remote.encoder import Server
from napari_promise.remote.security import (
    Credentials,
    checked_address,
    make_credentials,
    require_extra,
)
from napari_promise.remote.working import DEVICE_VARIABLE

__all__ = ["local_workers", "serving"]

#: A worker that dies with an image twice is not given it a third time, see `encoder`.
_FAILURES = 1


def _quiet() -> dict[str, Any]:
    """Return settings of dask: nothing but the scheduler's port, and no chatter."""
    return {
        "distributed.scheduler.http.routes": [],
        "distributed.worker.http.routes": [],
        "distributed.scheduler.allowed-failures": _FAILURES,
        "distributed.worker.profile.enabled": False,
        # a worker that died is loading libraries again, which may take its time
        "distributed.deploy.lost-worker-timeout": "1 hour",
        "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": 65536,
        "logging.distributed": "error",
    }


@contextlib.contextmanager
def serving(
    host: str,
    port: int,
    credentials: Credentials | None,
    *,
    workers: int = 1,
    threads: int = 0,
    slots: int = 1,
    device: str = "auto",
) -> Iterator[Any]:
    """Run a scheduler and workers as long as the context lasts.

    Parameters
    ----------
    host : str
        The address to listen on; "0.0.0.0" for every one of this computer.
    port : int
        0 takes a free one.
    credentials : Credentials or None
        None for connections without encryption.
    workers : int
        Processes, each with a model of its own.
    threads : int
        Of torch in each worker; 0 leaves the choice to torch.
    slots : int
        Images that each worker takes at the same time.
    device : str
        Where they compute.

    Yields
    ------
    distributed.SpecCluster
        Its ``scheduler_address`` says where it really listens.

    Raises
    ------
    ValueError
        If the port is taken.
    """
    require_extra()
    import dask
    from distributed import Nanny, Scheduler, SpecCluster

    scheme = "tcp" if credentials is None else "tls"
    security = None if credentials is None else credentials.to_dask()
    environment = {DEVICE_VARIABLE: device}
    if threads:
        names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
        environment |= dict.fromkeys(names, str(threads))
    inside = "127.0.0.1:0"
    with dask.config.set(_quiet()):
        options = {
            "host": host,
            "port": port,
            "protocol": f"{scheme}://",
            "security": security,
            "dashboard": False,
            "dashboard_address": inside,
        }
        worker = {
            "cls": Nanny,
            "options": {
                "host": "127.0.0.1",
                "protocol": f"{scheme}://",
                "security": security,
                "nthreads": slots,
                "dashboard": False,
                "dashboard_address": inside,
                "env": environment,
                "memory_limit": None,
                "silence_logs": 40,
            },
        }
        try:
            cluster = SpecCluster(
                workers=dict.fromkeys(range(workers), worker),
                scheduler={"cls": Scheduler, "options": options},
                security=security,
                silence_logs=40,
                shutdown_on_close=True,
            )
        except (OSError, RuntimeError) as error:
            raise ValueError(
                f"nothing can listen on {host}:{port} ({_cause(error)}): choose "
                "another --port, or stop what listens there."
            ) from error
        try:
            yield cluster
        finally:
            cluster.close(timeout=10)


@contextlib.contextmanager
def local_workers(count: int, device: str = "auto") -> Iterator[tuple[Server, Any]]:
    """Run workers on this computer for one program alone.

    Parameters
    ----------
    count : int
        Each computes with one thread, so that their number does not change a bit of
        what comes out.
    device : str

    Yields
    ------
    server : Server
        With certificates that exist in memory only.
    cluster : distributed.SpecCluster
    """
    require_extra()
    own, client = make_credentials()
    with serving(
        "127.0.0.1", 0, own, workers=count, threads=1, device=device
    ) as cluster:
        yield Server(checked_address(cluster.scheduler_address), client), cluster


def _cause(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).split())

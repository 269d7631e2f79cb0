"""`napari-promise serve`: encode for other computers."""

from __future__ import annotations

import socket
import time
from pathlib import Path
from typing import Annotated

import typer

from napari_promise.cli.arguments import DeviceOption, checked_arguments
from napari_promise.cli.output import fail, say


def serve(
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0 is every one it has.")
    ] = "0.0.0.0",
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.")] = 8786,
    workers: Annotated[
        int, typer.Option(min=1, help="Processes; each holds a model of its own.")
    ] = 1,
    certificates: Annotated[
        Path | None,
        typer.Option(help="Folder of the certificates; by default the user's."),
    ] = None,
    plain: Annotated[
        bool,
        typer.Option(
            "--plain",
            help="Without encryption or certificates, for this computer alone: use it "
            "behind an SSH tunnel.",
        ),
    ] = False,
    device: DeviceOption = "auto",
) -> None:
    """Encode images for other computers, until Ctrl+C.

    Prints the address to paste into the dock (Model, Remote…) and the certificate to
    copy there. Whoever holds that certificate can run code on this computer as you.
    """
    from napari_promise.model.sam import resolve_device
    from napari_promise.remote.security import (
        checked_address,
        require_extra,
        server_credentials,
        server_folder,
    )
    from napari_promise.remote.serving import serving

    with checked_arguments():
        require_extra()
        resolve_device(device)
        credentials = client = None
        if plain:
            host = "127.0.0.1" if host == "0.0.0.0" else host
            try:
                checked_address(f"tcp://{host}:{port or 1}")
            except ValueError:
                raise ValueError(
                    f"--plain listens on this computer alone, not on {host}: leave "
                    "out --plain, or reach it through an SSH tunnel."
                ) from None
        else:
            credentials, client = server_credentials(certificates or server_folder())
    with serving(host, port, credentials, workers=workers, device=device) as cluster:
        listening = checked_address(cluster.scheduler_address, plain=True)
        shown = _own_address() if host in ("0.0.0.0", "::") else host
        print(f"address: {listening.scheme}://{shown}:{listening.port}", flush=True)
        if client is not None:
            print(f"certificate: {client}", flush=True)
            say(
                "copy the certificate to the computers that may use this one; whoever "
                "has it can run code here as you. Ctrl+C ends."
            )
        try:
            while cluster.status.name == "running":
                time.sleep(0.5)
        except KeyboardInterrupt:
            raise typer.Exit(fail("stopped.", 0)) from None
    raise typer.Exit(fail("the scheduler ended by itself.", 1))


def _own_address() -> str:
    """Return the address by which others are likely to reach this computer."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # nothing is sent
            return str(probe.getsockname()[0])
        except OSError:
            return socket.gethostname()

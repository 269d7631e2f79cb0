"""The program: its commands, and the exit status and message of whatever they raise."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from napari_promise.cli import adapters, models
from napari_promise.cli.demo import demo
from napari_promise.cli.evaluate import evaluate
from napari_promise.cli.output import fail, say
from napari_promise.cli.segment import segment
from napari_promise.cli.serve import serve
from napari_promise.cli.train import train

app = typer.Typer(
    name="napari-promise",
    help="Promptable segmentation: a frozen SAM, and ProMISe adapters on top.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(demo)
app.command()(segment)
app.command()(train)
app.command()(evaluate)
app.command()(serve)
app.add_typer(models.app, name="models", invoke_without_command=True)
app.add_typer(adapters.app, name="adapters", invoke_without_command=True)

# typer's own errors, whichever click it stands on.
_UsageError: Any = typer.BadParameter.__bases__[0]
_ClickException: Any = _UsageError.__bases__[0]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status.

    Parameters
    ----------
    arguments : sequence of str, optional
        Without the program's name; by default those the program was started with.

    Returns
    -------
    int
        0 done, 1 work failed, 2 bad arguments.
    """
    command = typer.main.get_command(app)
    try:
        status = command.main(
            args=None if arguments is None else list(arguments),
            prog_name="napari-promise",
            standalone_mode=False,
        )
    except typer.Abort:
        return fail("stopped.", 1)
    except KeyboardInterrupt:
        return fail("stopped.", 1)
    except _ClickException as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            say(error.format_message())
            return 2
        return fail(error.format_message(), getattr(error, "exit_code", 2))
    except BrokenPipeError:  # the reader, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (OSError, ValueError, RuntimeError) as error:
        return fail(str(error), 1)
    return int(status or 0)


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[
        bool, typer.Option("--version", help="Say the version and stop.", is_eager=True)
    ] = False,
) -> None:
    if version:
        from napari_promise import __version__

        print(f"napari-promise {__version__}")
        raise typer.Exit

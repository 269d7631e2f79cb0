"""The command line: arguments in, the same functions as the window's, files out.

One module a command, and `application`, which makes one program of them. Everything
heavy is imported inside the commands, so that ``napari-promise --help`` answers at
once. Results go to stdout, progress and
messages to stderr, each message one line with the value and the remedy. Exit status: 0
done, 2 bad arguments (nothing was done), 1 work failed.
"""

from napari_promise.cli.application import app, main

__all__ = ["app", "main"]

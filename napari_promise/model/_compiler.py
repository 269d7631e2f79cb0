"""Spare everybody the import of torch's compiler until somebody compiles.

torchvision and timm each want one function of it, for operators and models that nothing
here uses. That compiler takes longer to import than torch itself, and a window that
waits for its model waits for that, too.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import torch

__all__ = ["put_off"]

_NAME = "torch._dynamo"


def _is_compile_supported(device_type: str) -> bool:
    """Ask torch's compiler, which is imported now."""
    from torch._dynamo.utils import is_compile_supported

    return bool(is_compile_supported(device_type))


def _disable(
    function: Callable[..., Any] | None = None, recursive: bool = True, **options: Any
) -> Callable[..., Any]:
    """Keep a function from being compiled; see `torch.compiler.disable`."""
    if function is None:
        return functools.partial(_disable, recursive=recursive, **options)

    @functools.cache
    def disabled() -> Callable[..., Any]:
        wrapped: Callable[..., Any] = torch.compiler.disable(
            function, recursive, **options
        )
        return wrapped

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        return disabled()(*args, **kwargs)

    return call


@contextmanager
def put_off() -> Iterator[None]:
    """Have two functions stand for torch's compiler, unless that is there already.

    Both ask the compiler itself as soon as they are called.

    Examples
    --------
    >>> with put_off():  # doctest: +SKIP
    ...     import torchvision
    """
    if _NAME in sys.modules:
        yield
        return
    package, utils = ModuleType(_NAME), ModuleType(f"{_NAME}.utils")
    package.__path__ = []
    package.disable = _disable  # type: ignore[attr-defined]
    utils.is_compile_supported = _is_compile_supported  # type: ignore[attr-defined]
    standing_in = {_NAME: package, f"{_NAME}.utils": utils}
    sys.modules.update(standing_in)
    try:
        yield
    finally:
        for name, module in standing_in.items():
            if sys.modules.get(name) is module:
                del sys.modules[name]

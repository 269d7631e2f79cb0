"""The shortcuts, and binding them on a viewer and on layers without leaving traces.

A layer's keymap shadows the viewer's: napari binds C, M, B, T, A and Ctrl+Z on its
layers to other things. So ours are bound on the viewer and on every layer one works
in.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from app_model.types import KeyCode, KeyMod
from napari.utils.key_bindings import coerce_keybinding


class Shortcut(NamedTuple):
    """A key combination as napari and as the user writes it."""

    keys: int
    shown: str


_CTRL = "⌘" if sys.platform == "darwin" else "Ctrl+"

SHORTCUTS: dict[str, Shortcut] = {
    "auto": Shortcut(KeyCode.KeyA, "A"),
    "auto everywhere": Shortcut(KeyMod.Shift | KeyCode.KeyA, "⇧A"),
    "polarity": Shortcut(KeyCode.KeyT, "T"),
    "box": Shortcut(KeyCode.KeyB, "B"),
    "scribble": Shortcut(KeyCode.KeyS, "S"),
    "lasso": Shortcut(KeyCode.KeyL, "L"),
    "mask": Shortcut(KeyCode.KeyM, "M"),
    "segment": Shortcut(KeyMod.Shift | KeyCode.KeyS, "⇧S"),
    "commit": Shortcut(KeyCode.KeyC, "C"),
    "new": Shortcut(KeyCode.KeyN, "N"),
    "uncertain": Shortcut(KeyCode.KeyU, "U"),
    "choose": Shortcut(KeyCode.KeyE, "E"),
    "choose box": Shortcut(KeyMod.Shift | KeyCode.KeyE, "⇧E"),
    "merge": Shortcut(KeyCode.KeyJ, "J"),
    "split": Shortcut(KeyCode.KeyX, "X"),
    "reject": Shortcut(KeyCode.Delete, "Delete"),
    "reject, too": Shortcut(KeyCode.Backspace, "Backspace"),
    "propagate": Shortcut(KeyCode.KeyP, "P"),
    "weakest plane": Shortcut(KeyMod.Shift | KeyCode.KeyW, "⇧W"),
    "confirm plane": Shortcut(KeyCode.KeyY, "Y"),
    "not here": Shortcut(KeyMod.Shift | KeyCode.KeyY, "⇧Y"),
    "same object": Shortcut(KeyMod.Shift | KeyCode.KeyN, "⇧N"),
    "undo": Shortcut(KeyMod.CtrlCmd | KeyCode.KeyZ, f"{_CTRL}Z"),
    "redo": Shortcut(KeyMod.CtrlCmd | KeyMod.Shift | KeyCode.KeyZ, f"{_CTRL}⇧Z"),
    # Of a folder. X-AnyLabeling's D for the next image; its A is taken by Auto-prompt.
    "next": Shortcut(KeyCode.KeyD, "D"),
    "previous": Shortcut(KeyMod.Shift | KeyCode.KeyD, "⇧D"),
    "weakest": Shortcut(KeyCode.KeyW, "W"),
    "finish": Shortcut(KeyCode.KeyG, "G"),
    "skip": Shortcut(KeyCode.KeyK, "K"),
    "take": Shortcut(KeyCode.KeyQ, "Q"),
}


class KeyBindings:
    """Binds the same actions on several keymaps and takes them back again.

    Parameters
    ----------
    actions : mapping of str to callable
        What to call, by the names of `SHORTCUTS`.
    """

    def __init__(self, actions: Mapping[str, Callable[[], Any]]) -> None:
        self._actions = dict(actions)
        # By identity: a viewer is compared by value and has no hash.
        self._bound: dict[int, tuple[Any, dict[int, Any]]] = {}

    def bind(self, provider: Any, names: Iterable[str] | None = None) -> None:
        """Bind actions on a viewer or a layer; harmless when bound already.

        Parameters
        ----------
        provider : napari viewer or layer
            Whatever has a ``keymap``.
        names : iterable of str, optional
            Which actions; all by default.
        """
        if id(provider) in self._bound:
            return
        before: dict[int, Any] = {}
        for name in self._actions if names is None else names:
            keys = SHORTCUTS[name].keys
            before[keys] = provider.keymap.get(coerce_keybinding(keys))
            provider.bind_key(keys, _calling(self._actions[name]), overwrite=True)
        self._bound[id(provider)] = (provider, before)

    def bind_only(self, providers: list[Any], others: list[Any]) -> None:
        """Bind on these and let go of all others.

        Parameters
        ----------
        providers : list
            Where every action is bound.
        others : list
            Labels layers that are not ours: there only taking a mask is bound, for
            which one has to be in such a layer.
        """
        wanted = {id(provider) for provider in (*providers, *others)}
        for known, (provider, _) in list(self._bound.items()):
            if known not in wanted:
                self.release(provider)
        for provider in providers:
            self.bind(provider)
        for provider in others:
            self.bind(provider, ("mask",))

    def release(self, provider: Any) -> None:
        """Put back what a provider's own keymap held before `bind`."""
        _, before = self._bound.pop(id(provider), (provider, {}))
        for keys, earlier in before.items():
            provider.bind_key(keys, earlier, overwrite=True)

    def release_all(self) -> None:
        """Put everything back everywhere."""
        for provider, _ in list(self._bound.values()):
            self.release(provider)


def _calling(action: Callable[[], Any]) -> Callable[[Any], None]:
    def call(_provider: Any) -> None:
        action()

    return call

"""Which of a run's images are trained on, and which are held out to choose by."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from napari_promise.training.config import ImagePair, TrainConfig

__all__ = ["split"]


def split(config: TrainConfig) -> tuple[list[ImagePair], list[ImagePair]]:
    """Training and held-out pairs; a group is never divided.

    Parameters
    ----------
    config : TrainConfig

    Returns
    -------
    tuple of list
        Both in the order given.

    Raises
    ------
    ValueError
        If all pairs belong to one group.
    """
    if config.held_out:
        return list(config.pairs), list(config.held_out)
    group_of = [pair.group or str(pair.image) for pair in config.pairs]
    groups = sorted(set(group_of))
    if len(groups) < 2:
        raise ValueError(
            f"all pairs belong to one group ({groups[0]}): nothing could be held out; "
            "give held-out pairs or more groups"
        )
    order = np.random.default_rng(config.seed).permutation(len(groups))
    wanted = max(1, round(config.held_out_share * len(config.pairs)))
    chosen: set[str] = set()
    count = 0
    for index in order[:-1]:
        if count >= wanted:
            break
        chosen.add(groups[index])
        count += group_of.count(groups[index])
    parts: tuple[list[ImagePair], list[ImagePair]] = ([], [])
    for pair, group in zip(config.pairs, group_of, strict=True):
        parts[group in chosen].append(pair)
    return parts

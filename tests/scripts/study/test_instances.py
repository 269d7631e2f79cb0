"""The rivals of the study of many objects."""

from __future__ import annotations

import torch

from scripts.study.instances import keep_best


def test_the_better_of_two_boxes_that_overlap_is_kept() -> None:
    boxes = torch.tensor(
        [[0.0, 0, 10, 10], [1, 1, 11, 11], [20, 20, 30, 30], [1, 1, 11, 11]]
    )
    scores = torch.tensor([0.5, 0.9, 0.1, 0.4])
    groups = torch.tensor([0, 0, 0, 1])
    assert keep_best(boxes, scores, groups, 0.5).tolist() == [1, 3, 2]
    assert keep_best(boxes, scores, groups, 0.9).tolist() == [1, 0, 3, 2]
    assert keep_best(boxes[:0], scores[:0], groups[:0], 0.5).tolist() == []

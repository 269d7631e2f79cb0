import subprocess
import sys
import textwrap

import pytest

SCRIPT = """
import sys

from napari_promise.segmenter import Segmenter

Segmenter.load("promise-tiny")
assert not [name for name in sys.modules if name.startswith("torch._dynamo")]

import torch
from torchvision.ops import roi_align

boxes = torch.tensor([[0.0, 0.0, 2.0, 2.0]])
assert roi_align(torch.ones(1, 1, 4, 4), [boxes], 2).shape == (1, 1, 2, 2)
twice = torch.compile(lambda x: 2 * x, backend="eager")
assert twice(torch.ones(1)).item() == 2
assert "torch._dynamo.utils" in sys.modules
print("done")
"""


@pytest.mark.slow
def test_the_compiler_of_torch_is_imported_when_somebody_compiles():
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SCRIPT)],
        capture_output=True,
        text=True,
    )
    assert run.stdout.strip() == "done", run.stderr


def test_a_function_kept_from_compiling_does_what_it_did():
    from napari_promise.model._compiler import _disable

    @_disable
    def plus(a, b=1):
        """Add."""
        return a + b

    assert plus.__doc__ == "Add."
    assert (plus(1), plus(1, b=3)) == (2, 4)
    assert _disable(recursive=False)(max)(2, 3) == 3

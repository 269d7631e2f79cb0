import subprocess
import sys
import textwrap

import pytest

SCRIPT = """
import sys
from importlib import import_module
from pathlib import Path

import torch

NAME = "napari_promise.model._torchvision"
folder = Path(sys.argv[1])
assert "torchvision" not in sys.modules


def fake(code):
    for name in ("torchvision", NAME):
        sys.modules.pop(name, None)
    (folder / "torchvision.py").write_text(code)
    sys.path_importer_cache.clear()


sys.path.insert(0, str(folder))
sys.dont_write_bytecode = True

fake("raise RuntimeError('something else is wrong')")
try:
    import_module(NAME)
except RuntimeError as error:
    assert str(error) == "something else is wrong"
else:
    raise AssertionError("another error was taken for missing operators")

fake("healthy = True")
assert import_module(NAME).LIBRARY is None

fake('''
import torch
for name in ("nms", "qnms"):
    torch.library.register_fake(f"torchvision::{name}")(lambda *args: None)
''')
assert import_module(NAME).LIBRARY is not None
assert "torchvision" in sys.modules
print("done")
"""


@pytest.mark.slow
def test_only_missing_operators_are_declared_and_only_after_a_failed_import(tmp_path):
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SCRIPT), str(tmp_path)],
        capture_output=True,
        text=True,
    )
    assert run.stdout.strip() == "done", run.stderr

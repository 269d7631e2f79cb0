"""`python -m napari_promise.cli`: the same program where no script was installed."""

import sys

from napari_promise.cli import main

if __name__ == "__main__":
    sys.exit(main())

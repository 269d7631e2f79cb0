"""The napari dock and its panels: they show and wish, and calculate nothing."""

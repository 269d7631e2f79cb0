"""Docks, panels and layers in napari: they show, and say what the user wants."""

"""Frozen SAM models, adapters, and the one forward pass.

Importing the package itself imports no torch. Everything here works without napari.
"""

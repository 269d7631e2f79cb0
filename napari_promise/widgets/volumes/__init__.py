"""An object through the planes of a stack: propagate, look where to, confirm."""

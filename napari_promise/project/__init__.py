"""A folder of images to annotate, and all that is kept of it. No torch, no windows."""

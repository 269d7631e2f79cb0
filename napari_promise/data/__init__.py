"""Pixels and files: reading images and masks, what SAM sees, embeddings, export.

Arrays and paths in, arrays and files out; no torch, no Qt, no model.
"""

"""Pixels and files: what SAM sees, cached embeddings, image/mask pairs, export.

Knows neither torch, nor Qt, nor a model: arrays and paths in, arrays and files out.
"""

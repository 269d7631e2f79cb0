"""The torch room: frozen SAM models, adapters and the one forward pass.

Importing the package itself imports no torch; it knows no window, file of the user or
session.
"""

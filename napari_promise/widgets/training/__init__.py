"""Training from the window, and the library of adapters."""

"""Drive the real window, or kill it, and measure what comes of it."""

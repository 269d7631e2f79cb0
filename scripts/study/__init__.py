"""Train and measure adapters and rivals on the image sets; make the page of results."""

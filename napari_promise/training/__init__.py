"""Train adapters on a frozen SAM, and measure them."""

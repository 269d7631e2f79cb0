"""Train the bundled base, measure it, and write it into the package."""

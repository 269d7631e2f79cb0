"""The layers of the plugin: what a person edits, and what shows the results."""

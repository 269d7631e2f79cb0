"""The layers of the plugin: what the user edits, and what shows the results."""

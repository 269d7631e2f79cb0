"""The dock for prompting one image: its panels, its dialogs, what its buttons do."""

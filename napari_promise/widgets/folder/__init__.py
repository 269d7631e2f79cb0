"""The dock for annotating a folder of images: the table, the runs over all of it."""

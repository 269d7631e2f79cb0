"""Many objects of one image: proposing them in the background."""

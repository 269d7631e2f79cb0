"""Scripts that train and measure what the package ships; not part of the wheel."""

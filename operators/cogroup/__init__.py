"""Several grouped streams into one aggregate."""

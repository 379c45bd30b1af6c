"""Several processes of one application on one machine: the supervisor, and how many there are to be."""

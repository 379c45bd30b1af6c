"""The settings of an application: what there are, how each is read, and which source wins."""

"""Applications in Faust, for `python -m bench.faust_worker`."""

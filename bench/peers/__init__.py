"""One program per engine.

The benchmark starts each as a separate script, some of them in separate virtual environments.
"""

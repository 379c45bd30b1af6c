"""One program an engine.

The bench starts each as a script of its own, some of them in a virtual environment of their own.
"""

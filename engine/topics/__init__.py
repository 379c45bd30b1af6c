"""The topics of a program: checked when it starts, and watched while it runs."""

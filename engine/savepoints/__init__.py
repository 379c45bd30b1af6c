"""Savepoints: consistent cuts through an application; restoring and forking from them."""

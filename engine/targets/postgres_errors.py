"""Errors of PostgreSQL, by what to do next.

Imported only where PostgreSQL is a target, because it needs the extra `postgres`.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import psycopg

__all__ = ["Cause", "cause_of"]

Cause: TypeAlias = Literal["unavailable", "record", "setup"]

OF_RECORDS = ("22", "23", "44", "P0")
"""Classes of errors that data causes: of values, of constraints, of views, and of triggers."""
OF_TYPES = "42804"
READ_ONLY = "25006"
"""The server is a standby, or about to become one."""


def cause_of(error: Exception) -> Cause:
    """Return what causes an error: the server, a record, or how tables and rights are set up."""
    state = getattr(error, "sqlstate", None)
    if state is None:
        lost = isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError, OSError))
        return "unavailable" if lost else "record"  # what the client cannot write as text
    if state == READ_ONLY or isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError)):
        return "unavailable"
    return "record" if state.startswith(OF_RECORDS) or state == OF_TYPES else "setup"

"""Requests to OpenSearch, with its errors as those of targets.

Imported only where OpenSearch is a target, because it needs the extra `opensearch`.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Final, cast

from ...operators.errors import ConfigError
from ...operators.graph.target import TargetUnavailable
from .opensearch import OpenSearch

__all__ = ["BLOCKED", "CLOSED", "OpenSearchClient", "about"]

_client: Final[Any] = import_module("opensearchpy")
TIMEOUT: Final = 60
"""Seconds after which a server that does not answer is unavailable."""
CLOSED: Final = "index_closed_exception"
BLOCKED: Final = "cluster_block_exception"
_ADDRESS: Final = re.compile(r"<[^<>]* object at 0x[0-9a-f]+>:? ?")


class OpenSearchClient:
    """The requests of one session. It repeats none by itself: the session looks first."""

    def __init__(self, target: OpenSearch, step: str) -> None:
        self._where = f"step {step!r}, tm.opensearch(index={target.index!r})"
        if target.ca_certs is not None and not Path(target.ca_certs).is_file():
            raise ConfigError(f"{self._where}: there is no file {target.ca_certs!r} (ca_certs)")
        self._server: Any = _client.OpenSearch(
            hosts=[target.url],
            ca_certs=target.ca_certs,
            timeout=TIMEOUT,
            max_retries=0,
            retry_on_status=(),
        )

    def get(self, index: str, name: str) -> Mapping[str, Any] | None:
        """Return a document with its `_seq_no` and `_primary_term`, None if there is none."""
        found = self.asked(lambda server: server.get(index=index, id=name), missing=True)
        return found if found is not None and found.get("found") else None

    def put(self, index: str, name: str, body: Mapping[str, Any], former: Mapping[str, Any] | None) -> Any:
        """Write a document in place of `former`, None for a new one.

        Returns what `get` has of it, None if another one is there.
        """
        if former is None:
            condition: dict[str, Any] = {"op_type": "create"}
        else:
            condition = {"if_seq_no": former["_seq_no"], "if_primary_term": former["_primary_term"]}
        return self.asked(lambda server: server.index(index=index, id=name, body=body, params=condition), conflict=True)

    def asked(self, request: Callable[[Any], Any], *, missing: bool = False, conflict: bool = False) -> Any:
        """Return the answer to a request, None for those of the statuses 404 and 409 that are said.

        Raises TargetUnavailable, and ConfigError for what does not get better by waiting.
        """
        try:
            return request(self._server)
        except _client.ConnectionError as error:
            reason = f"{type(error.info).__name__}: {_ADDRESS.sub('', str(error.info))}"
            if isinstance(_cause(error.info), ssl.SSLCertVerificationError):
                raise self.misfit(f"{reason}. For an authority of your own, give its certificate: ca_certs=") from error
            raise TargetUnavailable(_line(reason)) from error
        except _client.TransportError as error:
            if (missing and error.status_code == 404) or (conflict and error.status_code == 409):
                return None
            raise self.failure(error.status_code, about(error)) from error

    def failure(self, status: Any, text: str) -> Exception:
        """Return the error for a status and what the server says."""
        if _failed(status) or CLOSED in text or BLOCKED in text:
            return TargetUnavailable(f"{status}: {text}")
        if status == 413:
            text += ". Raise the limit of the server, http.max_content_length, or that of a proxy before it"
        return self.misfit(f"{status}: {text}")

    def misfit(self, text: str) -> ConfigError:
        """Return the error for a server, or an index, that does not fit."""
        return ConfigError(f"{self._where}: {_line(text)}")

    def close(self) -> None:
        self._server.close()


def about(error: Any) -> str:
    """Return what a server says of a request that failed."""
    info: Any = error.info
    found: Any = cast("dict[str, Any]", info).get("error") if isinstance(info, dict) else None
    if isinstance(found, dict):
        found = cast("dict[str, Any]", found)
        return _line(f"{found.get('type')}: {found.get('reason')}")
    return _line(str(found or error.error))


def _failed(status: Any) -> bool:
    """Return whether a status says that the same request may succeed later."""
    return not isinstance(status, int) or status >= 500 or status in (408, 429)


def _cause(error: BaseException | None) -> BaseException | None:
    """Return the first error that caused this one."""
    while error is not None:
        inner = getattr(error, "reason", None)
        found = inner if isinstance(inner, BaseException) else error.__cause__ or error.__context__
        if found is None and error.args and isinstance(error.args[0], BaseException):
            found = error.args[0]
        if found is None or found is error:
            return error
        error = found
    return None


def _line(text: str) -> str:
    """Return a text in one line."""
    return " ".join(text.split())

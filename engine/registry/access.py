"""How a program gets access to a schema registry: a user or a token, and certificates."""

from __future__ import annotations

import base64
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias, cast

from typing_extensions import TypedDict

from ..errors import ConfigError

__all__ = ["Access", "Auth", "Tls", "access_of"]

Auth: TypeAlias = tuple[str, str] | str | Callable[[], str]


class Tls(TypedDict, total=False):
    """Files in PEM format: certificates to trust, and those of this client with their key."""

    ca: str
    cert: str
    key: str
    password: str


@dataclass(frozen=True)
class Access:
    """What the arguments of `tm.SchemaRegistry` say."""

    user: tuple[str, str] | None
    token: Callable[[], str] | None
    files: Mapping[str, str]

    def options(self) -> dict[str, Any]:
        """Return it as options of Confluent's client."""
        names = {
            "ca": "ssl.ca.location",
            "cert": "ssl.certificate.location",
            "key": "ssl.key.location",
            "password": "ssl.key.password",
        }
        files = {names[name]: file for name, file in self.files.items()}
        if self.user is not None:
            return {"basic.auth.user.info": ":".join(self.user), **files}
        if (token := self.token) is None:
            return files

        def fields(config: object) -> dict[str, str]:
            return {"bearer.auth.token": token(), "bearer.auth.logical.cluster": ""}

        return {
            "bearer.auth.credentials.source": "CUSTOM",
            "bearer.auth.custom.provider.function": fields,
            "bearer.auth.custom.provider.config": {},
            **files,
        }

    def headers(self) -> dict[str, str]:
        """Return the headers of a request."""
        if self.user is not None:
            return {"Authorization": f"Basic {base64.b64encode(':'.join(self.user).encode()).decode()}"}
        return {} if self.token is None else {"Authorization": f"Bearer {self.token()}"}

    def tls(self) -> ssl.SSLContext:
        """Return the context of TLS; raise OSError for files that cannot be read."""
        context = ssl.create_default_context(cafile=self.files.get("ca"))
        if "cert" in self.files:
            context.load_cert_chain(self.files["cert"], self.files.get("key"), self.files.get("password"))
        return context


def access_of(auth: object, tls: object) -> Access:
    """Return the meaning of the arguments `auth` and `tls`; raise ConfigError for others."""
    user: tuple[str, str] | None = None
    token: Any = None
    match auth:
        case None:
            pass
        case (str(name), str(password)):
            user = (name, password)
        case str(text):
            token = partial(str, text)
        case _ if callable(auth):
            token = auth
        case _:
            raise ConfigError(
                "tm.SchemaRegistry(auth=) is (user, password), a bearer token, or a function that returns a token, not "
                f"a {type(auth).__name__}"
            )
    given: Any = {} if tls is None else {"ca": tls} if isinstance(tls, str) else tls
    if not isinstance(given, Mapping) or not {*given} <= {"ca", "cert", "key", "password"}:
        raise ConfigError(
            f"tm.SchemaRegistry(tls=) is a file or a dict with 'ca', 'cert', 'key', 'password', not {tls!r}"
        )
    return Access(user, token, cast("Mapping[str, str]", given))

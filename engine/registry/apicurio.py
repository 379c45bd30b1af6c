"""The client of a registry whose topics have ids of Apicurio: global ids, or content ids.

What is written goes through Confluent's API, which Apicurio has: subjects are artifacts of the group "default", as
Apicurio's own serializers name them. It has no global ids, and knows references of one group only, so schemas are
read through Apicurio's own API, version 3, which puts what a schema refers to into its text.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, cast
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import Request, urlopen

from ...operators.schemas.apicurio import IdKind
from ...operators.schemas.framing import SchemaId
from ...operators.schemas.schema import RegisteredSchema, Schema, UnknownSchema
from ..errors import ConfigError, Retryable
from .access import Access
from .client import DENIED, MISSING, RegistryClient

__all__ = ["ApicurioClient"]

OWN_API: Final = "/apis/registry/v3"
CONFLUENT_API: Final = "/apis/ccompat/v7"


class ApicurioClient(RegistryClient):
    """The calls of Apicurio's registry. Thread-safe."""

    def __init__(self, url: str, options: Mapping[str, Any], access: Access, kind: IdKind) -> None:
        """Prepare it; `url` is that of the server, or of one of its APIs."""
        servers = [each.strip().partition("/apis/")[0].rstrip("/") for each in url.split(",")]
        super().__init__(",".join(server + CONFLUENT_API for server in servers), options)
        self._servers = servers
        self._timeout: float = options["timeout"]
        self._access = access
        self._kind = kind
        try:
            self._tls = access.tls()
        except OSError as error:
            raise ConfigError(f"tm.SchemaRegistry({url!r}): {error}") from error

    def by_id(self, schema_id: SchemaId) -> Schema:
        """Return a schema, which has no references any more."""
        kind, _, number = str(schema_id).partition(":")
        missing = f"the registry at {self.url} has none with it"
        if kind == "contentId":
            number = str(self._first(f"contentId={number}", missing)["globalId"])
        path = f"/ids/globalIds/{number}?references=DEREFERENCE&returnArtifactType=true"
        found = self._get(path)
        if found is None:
            raise UnknownSchema(missing)
        text, headers = found
        written: Any = headers.get("X-Registry-ArtifactType", "AVRO")
        return Schema(written, text)

    def latest(self, subject: str) -> RegisteredSchema | None:
        """Return the newest schema of a subject, None if it has none."""
        return self._with_id(subject, super().latest(subject))

    def look_up(self, subject: str, schema: Schema) -> RegisteredSchema | None:
        """Return a schema with its id, None if the subject does not have it."""
        return self._with_id(subject, super().look_up(subject, schema))

    def _with_id(self, subject: str, found: RegisteredSchema | None) -> RegisteredSchema | None:
        """Return a schema of a subject with its id in this format.

        A text that the subject has in several versions has several global ids: the first one is taken, so that keys
        keep their bytes.
        """
        if found is None:
            return None
        name = quote(subject, safe="")
        answer = self._get(f"/groups/default/artifacts/{name}/versions/{found.version}")
        if answer is None:
            raise Retryable(f"the schema registry at {self.url} has version {found.version} of {subject!r} no more")
        content = json.loads(answer[0])["contentId"]
        if self._kind == "contentId":
            return replace(found, id=content)
        where = f"contentId={content}&groupId=default&artifactId={name}"
        return replace(found, id=self._first(where, f"version {found.version} of {subject!r} is gone")["globalId"])

    def _first(self, where: str, missing: str) -> dict[str, Any]:
        """Return the oldest version that a search finds; raise UnknownSchema if there is none."""
        found = self._get(f"/search/versions?{where}&orderby=globalId&order=asc&limit=1")
        versions: list[Any] = [] if found is None else json.loads(found[0])["versions"]
        if not versions:
            raise UnknownSchema(missing)
        return versions[0]

    def _get(self, path: str) -> tuple[str, Mapping[str, str]] | None:
        """Return the text and the headers of an answer, None for 404."""
        failure = ""
        for server in self._servers:
            request = Request(server + OWN_API + path, headers=self._access.headers())
            try:
                context = self._tls if server.startswith("https") else None
                with urlopen(request, timeout=self._timeout, context=context) as answer:
                    return answer.read().decode(), answer.headers
            except HTTPError as error:
                status, text = error.code, error.read().decode(errors="replace")
                if status in DENIED:
                    raise ConfigError(
                        f"the schema registry at {server} refuses the request ({status}: {text[:200]}): check auth= "
                        "and tls= of tm.SchemaRegistry, and the rights of the user"
                    ) from error
                if status == MISSING and _is_own(text):
                    return None
                if status == MISSING:
                    raise ConfigError(
                        f"the schema registry at {server} has no API at {OWN_API}, and is no Apicurio of version 3: "
                        "ids of Apicurio cannot be looked up there"
                    ) from error
                failure = f"answers {status}: {text[:200]}"
            except (OSError, ValueError) as error:
                failure = f"does not answer: {error}"
        raise Retryable(f"the schema registry at {','.join(self._servers)} {failure}")


def _is_own(text: str) -> bool:
    """Return whether an answer 404 is that of Apicurio's API for what is not there."""
    try:
        found = json.loads(text)
    except ValueError:
        return False
    return isinstance(found, dict) and "NotFound" in str(cast("dict[str, Any]", found).get("name"))

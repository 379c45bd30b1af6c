"""Tests of Apicurio's own format on its real registry: ids of both kinds, in front of the data and in headers."""

from __future__ import annotations

import json
import threading
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

import tidemill as tm
from tests.brokers.registry import Registry
from tidemill.engine.registry.registry import FramingName

# Confluent's client has no close method.
pytestmark = pytest.mark.filterwarnings("ignore:Exception ignored in. <socket", "ignore:unclosed:ResourceWarning")

KINDS: list[FramingName] = ["apicurio-global", "apicurio-content"]


class Order(msgspec.Struct, frozen=True):
    user: str
    amount: float


class Later(msgspec.Struct, frozen=True):
    user: str
    amount: float
    note: str = "none"


@pytest.fixture
def api(registry: Registry) -> str:
    return registry.url.replace("/apis/ccompat/v7", "/apis/registry/v3")


def ask(url: str, body: object = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"} if data else {})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


def artifact(name: str, kind: str, schema: object, references: list[dict[str, str]] | None = None) -> dict[str, Any]:
    content = {"contentType": "application/json", "content": json.dumps(schema), "references": references or []}
    return {"artifactId": name, "artifactType": kind, "firstVersion": {"content": content}}


@pytest.mark.parametrize("framing", KINDS)
@pytest.mark.parametrize("headers", [False, True])
@pytest.mark.parametrize("form", ["avro", "json_schema"])
def test_written_and_read(
    registry: Registry, api: str, app_id: str, framing: FramingName, headers: bool, form: str
) -> None:
    """The ids are those of Apicurio's own API, and both places of an id are read, with one serde."""
    ours = tm.SchemaRegistry(registry.url, framing=framing)
    serde = getattr(ours, form)(Order, headers=headers).in_topic(app_id, "value")
    data = serde.encode(Order("ann", 1.5))
    version = ask(f"{api}/groups/default/artifacts/{app_id}-value/versions/1")
    kind = "globalId" if framing == "apicurio-global" else "contentId"
    number = version[kind].to_bytes(8, "big")
    reader = getattr(tm.SchemaRegistry(api, framing=framing), form)(Order).in_topic(app_id, "value")
    if headers:
        assert serde.header == (f"apicurio.value.{kind}", number)
        assert reader.decode_with_headers([data], [(serde.header,)]) == [Order("ann", 1.5)]
    else:
        assert data[:9] == b"\x00" + number
        assert reader.decode_many([data, data]) == [Order("ann", 1.5)] * 2


def test_a_header_says_which_kind_its_id_is_of(registry: Registry, api: str, app_id: str) -> None:
    """So it is read with either setting; without one it is an error that names the setting."""
    write = tm.SchemaRegistry(registry.url, framing="apicurio-content").avro(Order, headers=True)
    serde = write.in_topic(app_id, "value")
    data = serde.encode(Order("ann", 1.5))
    assert serde.header is not None
    read = tm.SchemaRegistry(registry.url, framing="apicurio-global").avro(Order).in_topic(app_id, "value")
    assert read.decode_with_headers([data], [(serde.header,)]) == [Order("ann", 1.5)]
    confluent = tm.SchemaRegistry(registry.url).avro(Order).in_topic(app_id, "value")
    with pytest.raises(ValueError, match='framing="apicurio-global"'):
        confluent.decode_with_headers([data], [(serde.header,)])


def test_references_to_other_groups_are_read(registry: Registry, api: str, app_id: str) -> None:
    """As Apicurio's serializers register them: a record inside of another one is an artifact of its namespace."""
    group = app_id.replace("-", "_")
    city = {"type": "record", "name": "City", "namespace": group, "fields": [{"name": "name", "type": "string"}]}
    customer = {"type": "record", "name": "Customer", "fields": [{"name": "home", "type": f"{group}.City"}]}
    ask(f"{api}/groups/{group}/artifacts", artifact(f"{group}.City", "AVRO", city))
    reference = {"groupId": group, "artifactId": f"{group}.City", "version": "1", "name": f"{group}.City"}
    made = ask(f"{api}/groups/default/artifacts", artifact(f"{app_id}-value", "AVRO", customer, [reference]))
    number = made["version"]["globalId"]
    read = tm.SchemaRegistry(registry.url, framing="apicurio-global").avro().in_topic(app_id, "value")
    assert read.decode(b"\x00" + number.to_bytes(8, "big") + b"\x06Ulm") == {"home": {"name": "Ulm"}}


def test_keys_keep_the_first_id_of_their_schema(registry: Registry, api: str, app_id: str) -> None:
    """The same text is registered again as a third version, which has a global id of its own."""
    key = tm.SchemaRegistry(registry.url, framing="apicurio-global").avro(Order)
    before = key.in_topic(app_id, "key").encode(Order("ann", 1.5))
    at = f"{api}/groups/default/artifacts/{app_id}-key/versions"
    with urllib.request.urlopen(f"{at}/1/content", timeout=10) as answer:
        first = json.load(answer)
    for fields in ([*first["fields"], {"name": "note", "type": "string", "default": ""}], first["fields"]):
        content = {"contentType": "application/json", "content": json.dumps({**first, "fields": fields})}
        last = ask(at, {"content": content})
    ids = [ask(f"{at}/{version}") for version in (1, int(last["version"]))]
    assert ids[0]["globalId"] < ids[1]["globalId"]
    assert ids[0]["contentId"] == ids[1]["contentId"]
    later = tm.SchemaRegistry(registry.url, framing="apicurio-global").avro(Order).in_topic(app_id, "key")
    assert later.encode(Order("ann", 1.5)) == before


def test_schemas_evolve(registry: Registry, app_id: str) -> None:
    ours = tm.SchemaRegistry(registry.url, framing="apicurio-global")
    data = ours.avro(Order).in_topic(app_id, "value").encode(Order("ann", 1.5))
    later = ours.avro(Later).in_topic(app_id, "value")
    assert later.decode(data) == Later("ann", 1.5)
    assert later.encode(Later("ann", 1.5))[:9] != data[:9]


def test_an_id_that_is_not_there_is_an_error_of_the_record(registry: Registry, app_id: str) -> None:
    for framing in KINDS:
        serde = tm.SchemaRegistry(registry.url, framing=framing).avro().in_topic(app_id, "value")
        with pytest.raises(ValueError, match=r"schema with the id (globalId|contentId):2147483647, and the registry"):
            serde.decode(b"\x00" + (2**31 - 1).to_bytes(8, "big") + b"\x06Ulm")


class Elsewhere(BaseHTTPRequestHandler):
    """A server that is no Apicurio of version 3."""

    def do_GET(self) -> None:
        body = b"<h1>Not Found</h1>"
        self.send_response(404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None: ...


@pytest.fixture
def elsewhere() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_another_server_is_no_registry_without_the_schema(elsewhere: str) -> None:
    """Its answer 404 does not make a record invalid."""
    ours: Any = tm.SchemaRegistry(elsewhere, framing="apicurio-global")
    with pytest.raises(tm.ConfigError, match="no Apicurio of version 3"):
        ours.schemas.client.by_id("globalId:7")


def test_a_registry_without_an_answer_is_asked_again() -> None:
    ours: Any = tm.SchemaRegistry("http://127.0.0.1:9", framing="apicurio-global")
    with pytest.raises(tm.Retryable, match=r"registry at http://127.0.0.1:9 does not answer"):
        ours.schemas.client.by_id("contentId:7")


def test_wrong_arguments() -> None:
    with pytest.raises(tm.ConfigError, match="'confluent', 'apicurio-global', 'apicurio-content', not 'apicurio'"):
        tm.SchemaRegistry("mock://x", framing="apicurio")  # pyright: ignore[reportArgumentType]
    with pytest.raises(tm.TopologyError, match=r"protobuf\(\) does not go with framing='apicurio-global'"):
        tm.SchemaRegistry("mock://x", framing="apicurio-global").protobuf(Timestamp)

"""`tm.SchemaRegistry`: serdes with the schemas of a registry."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, Final, Literal, TypeAlias, get_args, overload

from typing_extensions import TypeVar

from ...operators.schemas.apicurio import Apicurio
from ...operators.schemas.avro import Avro
from ...operators.schemas.framing import CONFLUENT, Framing
from ...operators.schemas.json_schema import JsonSchema
from ...operators.schemas.local import local_value
from ...operators.schemas.protobuf import Protobuf, ProtobufKeys, ProtobufValues
from ...operators.schemas.serde import RegistrySerde
from ...operators.schemas.subjects import Strategy
from ...operators.schemas.wire import WireOptions
from ..errors import ConfigError, TopologyError
from .access import Auth, Tls, access_of
from .schemas import SchemaCache

__all__ = ["SchemaRegistry"]

T = TypeVar("T", default=Any)
TIMEOUT: Final = 5.0
"""Seconds that the registry has for an answer."""

FramingName: TypeAlias = Literal["confluent", "apicurio-global", "apicurio-content"]
FRAMINGS: Final[Mapping[FramingName, Framing]] = {
    "confluent": CONFLUENT,
    "apicurio-global": Apicurio("globalId"),
    "apicurio-content": Apicurio("contentId"),
}


class SchemaRegistry:
    """A schema registry with Confluent's API, as Apicurio, Karapace and Redpanda have it.

    Its serdes read and write topics with schema ids, in front of the data or in headers, as Confluent's serializers do.
    They serve for keys and for values. Stores and internal topics of the program do without the registry.

    The registry is asked when a program starts that writes, and for the first record of each schema. If it does not
    answer, records that need a schema wait, and everything else goes on. Needs `pip install tidemill[registry]`.

    Args:
        url: The address, or several, separated by commas. `mock://NAME` is a registry in memory, for tests.
        auth: User and password, a bearer token, or a function that returns a token when one is needed.
        tls: The file of the certificates to trust, or a dict of files: "ca", "cert", "key", "password".
        cache: How many schemas are kept.
        framing: How topics have the ids of schemas: as Confluent's serializers write them, or as Apicurio's own with
            ids in 8 bytes or in headers `apicurio.value.globalId`, which are global ids or content ids.

    Raises:
        ConfigError: An argument is not valid, or the extra is not installed.

    Example:
        >>> import msgspec
        >>> class Payment(msgspec.Struct):
        ...     user: str
        ...     amount: float
        >>> registry = tm.SchemaRegistry("mock://shop")
        >>> paid = app.stream("paid", key=tm.utf8, value=registry.avro(Payment))
        >>> paid.filter(lambda payment: payment.amount > 100).to("large")
        >>> with tm.testing.TopologyDriver(app) as driver:
        ...     driver.send("paid", key="ann", value=Payment("ann", 250.0), timestamp=1)
        ...     driver.read("large")[0].value
        Payment(user='ann', amount=250.0)
    """

    def __init__(
        self,
        url: str,
        *,
        auth: Auth | None = None,
        tls: str | Tls | None = None,
        cache: int = 1_000,
        framing: FramingName = "confluent",
    ) -> None:
        if not isinstance(url, str) or "://" not in url:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigError(f"tm.SchemaRegistry() takes an address such as 'http://localhost:8081', not {url!r}")
        if type(cache) is not int or cache < 1:
            raise ConfigError(f"tm.SchemaRegistry(cache=) is a number of schemas of at least 1, not {cache!r}")
        if framing not in FRAMINGS:
            names = ", ".join(map(repr, get_args(FramingName)))
            raise ConfigError(f"tm.SchemaRegistry(framing=) is one of {names}, not {framing!r}")
        self.url = url
        self.framing: FramingName = framing
        access, form = access_of(auth, tls), FRAMINGS[framing]
        options = {"timeout": TIMEOUT, "cache.capacity": cache, **access.options()}
        try:
            module = import_module(f"{__package__}.client")
        except ImportError as error:
            raise ConfigError(f"tm.SchemaRegistry needs its extra: pip install tidemill[registry] ({error})") from error
        if isinstance(form, Apicurio) and not url.startswith("mock://"):
            of = import_module(f"{__package__}.apicurio")
            client = of.ApicurioClient(url, options, access, form.kind)
        else:
            client = module.RegistryClient(url, options)
        self.schemas = SchemaCache(client, module.Incompatible, cache, framing=form)

    @overload
    def avro(
        self,
        model: type[T],
        /,
        *,
        schema: str | Mapping[str, Any] | None = None,
        namespace: str | None = None,
        references: Mapping[str, tuple[str, int, str]] | None = None,
        subject: Strategy = "topic",
        register: bool = True,
        latest: bool = False,
        headers: bool = False,
    ) -> RegistrySerde[T]: ...
    @overload
    def avro(
        self,
        model: Any = Any,
        /,
        *,
        schema: str | Mapping[str, Any] | None = None,
        namespace: str | None = None,
        references: Mapping[str, tuple[str, int, str]] | None = None,
        subject: Strategy = "topic",
        register: bool = True,
        latest: bool = False,
        headers: bool = False,
    ) -> RegistrySerde[Any]: ...
    def avro(
        self,
        model: Any = Any,
        /,
        *,
        schema: str | Mapping[str, Any] | None = None,
        namespace: str | None = None,
        references: Mapping[str, tuple[str, int, str]] | None = None,
        subject: Strategy = "topic",
        register: bool = True,
        latest: bool = False,
        headers: bool = False,
    ) -> RegistrySerde[Any]:
        """Return the serde of Avro records, as objects of a model or as plain objects.

        A model is a msgspec struct, a dataclass, a TypedDict, a NamedTuple or a pydantic model; its schema is derived
        from the types of its fields. Records that were written by another schema are read by Avro's rules: fields that
        they lack get the defaults of the model, and fields that the model lacks are left out.

        Args:
            model: The model; without it records are dicts.
            schema: The schema, as text or as a dict, in place of the one that is derived.
            namespace: The namespace of a schema that is derived.
            references: The schemas that `schema` refers to, by the name that it has for them: the subject and version
                where the registry has each, and its text.
            subject: Where the registry keeps the schemas: "topic", "record" or "topic_record".
            register: Whether the schema is registered if its subject does not have it.
            latest: Whether to write with the latest schema of the subject.
            headers: Whether to write the schema id into a header, instead of in front of the data.

        Raises:
            TopologyError: There is no Avro type for a field, or the schema is not valid.

        Example:
            >>> registry = tm.SchemaRegistry("mock://shop")
            >>> prices = app.table("prices", key=tm.utf8, value=registry.avro(schema='"double"'))
        """
        form = Avro(model, schema, namespace, references or {})
        options = WireOptions(subject=subject, register=register, latest=latest, headers=headers)
        return RegistrySerde(form, self.schemas, options, local_value(model))

    def protobuf(
        self,
        message: type[T],
        /,
        *,
        subject: Strategy = "topic",
        register: bool = True,
        latest: bool = False,
        headers: bool = False,
    ) -> RegistrySerde[T]:
        """Return the serde of Protobuf messages of a class that `protoc` has generated.

        Files that the class's file imports are registered too, under their names. Keys that are read are messages
        with a hash, which cannot be changed.

        Args:
            message: The class.
            subject: Where the registry keeps the schemas: "topic", "record" or "topic_record".
            register: Whether the schema is registered if its subject does not have it.
            latest: Whether to write with the id of the latest schema of the subject.
            headers: Whether to write the schema id into a header, instead of in front of the data.

        Raises:
            TopologyError: It is no class of messages.

        Example:
            >>> from google.protobuf.timestamp_pb2 import Timestamp
            >>> registry = tm.SchemaRegistry("mock://shop")
            >>> beats = app.stream("beats", key=tm.utf8, value=registry.protobuf(Timestamp))
        """
        if self.framing != "confluent":
            raise TopologyError(
                f"registry.protobuf() does not go with framing={self.framing!r}: Apicurio's serializers write the name "
                "of the message in front of it. Use avro() or json_schema(), or Confluent's format for this topic"
            )
        form = Protobuf(message)
        options = WireOptions(subject=subject, register=register, latest=latest, headers=headers)
        return RegistrySerde(form, self.schemas, options, ProtobufValues(form), ProtobufKeys(form))

    @overload
    def json_schema(
        self,
        model: type[T],
        /,
        *,
        schema: str | Mapping[str, Any] | None = None,
        references: Mapping[str, tuple[str, int, str]] | None = None,
        subject: Strategy = "topic",
        register: bool = True,
        latest: bool = False,
        headers: bool = False,
        validate: bool = True,
    ) -> RegistrySerde[T]: ...
    @overload
    def json_schema(
        self,
        model: Any = Any,
        /,
        *,
        schema: str | Mapping[str, Any] | None = None,
        references: Mapping[str, tuple[str, int, str]] | None = None,
        subject: Strategy = "topic",
        register: bool = True,
        latest: bool = False,
        headers: bool = False,
        validate: bool = True,
    ) -> RegistrySerde[Any]: ...
    def json_schema(
        self,
        model: Any = Any,
        /,
        *,
        schema: str | Mapping[str, Any] | None = None,
        references: Mapping[str, tuple[str, int, str]] | None = None,
        subject: Strategy = "topic",
        register: bool = True,
        latest: bool = False,
        headers: bool = False,
        validate: bool = True,
    ) -> RegistrySerde[Any]:
        """Return the serde of JSON with a schema in JSON Schema.

        Args:
            model: The model, as for `tm.json`; without it values are plain objects.
            schema: The schema, as text or as a dict, in place of that of the model.
            references: What `schema` refers to, as for `avro`.
            subject: Where the registry keeps the schemas: "topic", "record" or "topic_record".
            register: Whether the schema is registered if its subject does not have it.
            latest: Whether to write with the latest schema of the subject.
            headers: Whether to write the schema id into a header, instead of in front of the data.
            validate: Whether values are checked: those that are read with the schema of their writer, those that are
                written with their own.

        Raises:
            TopologyError: The model has no JSON Schema, or the schema is not valid.

        Example:
            >>> import msgspec
            >>> class Visit(msgspec.Struct):
            ...     page: str
            >>> registry = tm.SchemaRegistry("mock://shop")
            >>> visits = app.stream("visits", key=tm.utf8, value=registry.json_schema(Visit))
        """
        form = JsonSchema(model, schema, references or {}, validate=validate)
        options = WireOptions(subject=subject, register=register, latest=latest, headers=headers)
        return RegistrySerde(form, self.schemas, options, local_value(model))

    def __repr__(self) -> str:
        return f"SchemaRegistry({self.url!r})"

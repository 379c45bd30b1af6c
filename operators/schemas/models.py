"""Models: the fields of a class of data, whichever library it is declared with.

A model is a msgspec struct, a dataclass, a TypedDict, a NamedTuple or a pydantic model.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Annotated, Any, Final, NamedTuple, cast, get_args, get_origin, get_type_hints

import msgspec
from typing_extensions import NotRequired, ReadOnly, Required, is_typeddict

__all__ = ["MISSING", "ModelField", "fields_of", "is_model", "is_pydantic", "plain_type"]

MISSING: Final[Any] = object()
"""The default of a field without one."""


class ModelField(NamedTuple):
    """A field of a model."""

    name: str
    """Its name in data."""
    attribute: str
    """Its name in the class."""
    type: Any
    default: Any
    """Its default, or MISSING."""
    about: tuple[Any, ...]
    """What is declared about it besides its type."""
    optional: bool = False
    """Whether a dict may be without it."""


def is_pydantic(cls: Any) -> bool:
    """Return whether a class is a pydantic model."""
    return isinstance(cls, type) and all(hasattr(cast("Any", cls), name) for name in ("model_validate", "model_fields"))


def is_model(cls: Any) -> bool:
    """Return whether it is a class with fields."""
    return isinstance(cls, type) and _has_fields(cls)


def _has_fields(cls: Any) -> bool:
    named: bool = hasattr(cls, "_fields") and tuple in cls.__mro__
    return named or dataclasses.is_dataclass(cls) or is_typeddict(cls) or is_pydantic(cls) or _is_struct(cls)


def _is_struct(cls: Any) -> bool:
    return issubclass(cls, msgspec.Struct)


def plain_type(annotation: Any) -> tuple[Any, tuple[Any, ...]]:
    """Return a type without what is declared about it, and that."""
    about: tuple[Any, ...] = ()
    while True:
        origin = get_origin(annotation)
        if origin is Annotated:
            about = (*annotation.__metadata__, *about)
            annotation = annotation.__origin__
        elif origin in (Required, NotRequired, ReadOnly):
            annotation = get_args(annotation)[0]
        elif hasattr(annotation, "__supertype__"):  # a NewType
            annotation = annotation.__supertype__
        else:
            return annotation, about


def _made(factory: Callable[[], Any]) -> Any:
    """Return what a factory of defaults makes, if it is the same each time."""
    one, other = factory(), factory()
    return one if one == other else MISSING


def fields_of(cls: Any) -> tuple[ModelField, ...]:
    """Return the fields of a model; raise NameError for an unknown name in an annotation."""
    if is_pydantic(cls):
        return tuple(
            ModelField(
                name,
                name,
                info.annotation,
                MISSING if info.is_required() else _made(lambda info=info: info.get_default(call_default_factory=True)),
                tuple(info.metadata),
            )
            for name, info in cls.model_fields.items()
        )
    if issubclass(cls, msgspec.Struct):
        return tuple(
            _field(
                each.encode_name, each.name, each.type, _default(each.default, each.default_factory, msgspec.NODEFAULT)
            )
            for each in msgspec.structs.fields(cls)
        )
    hints = get_type_hints(cls, include_extras=True)
    if dataclasses.is_dataclass(cls):
        return tuple(
            _field(
                each.name,
                each.name,
                hints[each.name],
                _default(each.default, each.default_factory, dataclasses.MISSING),
            )
            for each in dataclasses.fields(cls)
            if each.init
        )
    if is_typeddict(cls):
        return tuple(
            _field(name, name, kind, MISSING, optional=name in cls.__optional_keys__) for name, kind in hints.items()
        )
    return tuple(
        _field(name, name, hints.get(name, Any), cls._field_defaults.get(name, MISSING)) for name in cls._fields
    )


def _default(default: Any, factory: Any, none: Any) -> Any:
    if default is not none:
        return default
    return MISSING if factory is none else _made(factory)


def _field(name: str, attribute: str, annotation: Any, default: Any, *, optional: bool = False) -> ModelField:
    kind, about = plain_type(annotation)
    return ModelField(name, attribute, kind, default, about, optional)

"""Objects of user-defined data classes, to plain parts with the name of the class, and back.

Data classes are msgspec structs, dataclasses, named tuples, pydantic models and enums. A class is looked up in the
modules that the program has loaded and must be a data class: reading a value never imports a module and never calls
anything but such a class. The main module has the name by which it would be imported, so that values are the same for
`python views.py` and `tidemill run views:app`.
"""

from __future__ import annotations

import dataclasses
import enum
import sys
import zoneinfo
from collections.abc import Callable, Mapping
from pathlib import PurePath
from typing import Any, NamedTuple, cast

import msgspec

__all__ = ["from_parts", "positional", "to_parts", "zone_named"]


class _Form(NamedTuple):
    """How objects of a class are converted to parts and back."""

    name: str
    take: Callable[[Any], Any]
    make: Callable[[Any], Any]


_forms: dict[type, _Form] = {}
_classes: dict[str, type] = {}


def to_parts(value: Any) -> list[Any]:
    """Return the class name and parts of an object; raise TypeError if it is no data class."""
    cls = cast("type[Any]", type(value))
    form = _forms.get(cls)
    if form is None:
        form = _forms[cls] = _form(cls)
    return [form.name, form.take(value)]


def from_parts(parts: list[Any]) -> Any:
    """Return the object of a class's name and parts."""
    name, fields = parts
    cls = _classes.get(name)
    if cls is None:
        cls = _classes[name] = _find(name)
    form = _forms.get(cls)
    if form is None:
        form = _forms[cls] = _form(cls)
    return form.make(fields)


def zone_named(zone: str) -> zoneinfo.ZoneInfo:
    """Return a time zone by its name."""
    return zoneinfo.ZoneInfo(zone)


def _form(cls: type[Any]) -> _Form:
    name = _name(cls)
    known: Any = cls
    if issubclass(cls, enum.Enum):
        return _Form(name, _enum_value, cls)
    if issubclass(cls, msgspec.Struct):
        return _Form(name, _taker(cls.__struct_fields__), _from_fields(known, frozenset(cls.__struct_fields__)))
    if issubclass(cls, tuple) and hasattr(known, "_fields"):
        return _Form(name, _taker(known._fields), _named_tuple_maker(known))
    if dataclasses.is_dataclass(known):
        return _Form(name, _taker(tuple(field.name for field in dataclasses.fields(known))), _dataclass_maker(known))
    if hasattr(known, "model_construct") and hasattr(known, "model_fields_set"):

        def construct(parts: list[Any]) -> Any:
            return known.model_construct(set(parts[1]), **parts[0])

        return _Form(name, _take_model, construct)
    raise TypeError(
        f"a {cls.__module__}.{cls.__qualname__} cannot be written: give the step a serde with value= (or key=), or "
        "turn the value into plain data, a msgspec struct, a dataclass or a pydantic model"
    )


def _enum_value(member: Any) -> Any:
    return member.value


def _taker(fields: tuple[str, ...]) -> Callable[[Any], dict[str, Any]]:
    return lambda value: {field: getattr(value, field) for field in fields}


def _from_fields(cls: Any, known: frozenset[str]) -> Callable[[Mapping[str, Any]], Any]:
    """Return the function from fields to an object.

    Fields that the class no longer has are ignored; new ones have their defaults.
    """

    def make(fields: Mapping[str, Any]) -> Any:
        if fields.keys() <= known:
            return cls(**fields)
        return cls(**{field: item for field, item in fields.items() if field in known})

    return make


def _named_tuple_maker(cls: Any) -> Callable[[Any], Any]:
    """Return the function from parts by name to an object.

    Parts by position, written by earlier versions, are accepted if the number of fields is unchanged.
    """
    fields = frozenset(cls._fields)
    from_fields = _from_fields(cls, fields)

    def make(parts: Any) -> Any:
        if isinstance(parts, dict):
            return from_fields(cast("dict[str, Any]", parts))
        if len(parts) != len(fields):
            raise ValueError(
                f"the stored {cls.__qualname__} has {len(parts)} fields without names, and the class has {len(fields)}"
            )
        return cls._make(parts)

    return make


def positional(value: tuple[Any, ...]) -> list[Any]:
    """Return the class's name and the parts of a named tuple by position, the form of keys."""
    return [_name(type(value)), list(value)]


def _dataclass_maker(cls: Any) -> Callable[[Mapping[str, Any]], Any]:
    """Return the function from fields to an object, without __init__ and __post_init__.

    The object had run both before it was written.
    """
    fields = dataclasses.fields(cls)

    def make(parts: Mapping[str, Any]) -> Any:
        made: Any = object.__new__(cls)
        for field in fields:
            if field.name in parts:
                item = parts[field.name]
            elif field.default is not dataclasses.MISSING:
                item = field.default
            elif field.default_factory is not dataclasses.MISSING:
                item = field.default_factory()
            else:
                raise ValueError(f"the stored {cls.__qualname__} has no field {field.name!r}, which has no default")
            object.__setattr__(made, field.name, item)
        return made

    return make


def _take_model(value: Any) -> list[Any]:
    fields: dict[str, Any] = {**value.__dict__, **(value.model_extra or {})}
    return [fields, sorted(value.model_fields_set)]


def _name(cls: type[Any]) -> str:
    if "<locals>" in cls.__qualname__:
        raise TypeError(
            f"{cls.__qualname__} is defined inside a function, so it cannot be found again: move it to the module, or "
            "give the step a serde with value="
        )
    module = main_name() if cls.__module__ == "__main__" else cls.__module__
    return f"{module}:{cls.__qualname__}"


def main_name() -> str:
    """Return the name by which the main module would be imported."""
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    if spec is not None:
        return spec.name.removesuffix(".__main__")
    file = getattr(main, "__file__", None)
    return PurePath(file).stem if file else "__main__"


def _find(name: str) -> type:
    module_name, _, qualname = name.partition(":")
    for module in _candidates(module_name):
        found: Any = module
        for part in qualname.split("."):
            found = getattr(found, part, None)
        if isinstance(found, type):
            return found
    raise ValueError(
        f"a stored value is a {qualname} of module {module_name!r}, which the program does not have: import the module "
        "that defines it, or reset the application if the class is gone"
    )


def _candidates(name: str) -> list[object]:
    """Return the modules that a name may refer to.

    A script is `views`, `shop.views` or the main module, depending on how it is run.
    """
    last = name.rpartition(".")[2]
    main = main_name()
    found: list[object] = []
    if name in sys.modules:
        found.append(sys.modules[name])
    if main == name or main.rpartition(".")[2] == last:
        found.append(sys.modules["__main__"])
    found.extend(module for other, module in sorted(sys.modules.items()) if other.rpartition(".")[2] == last)
    return found

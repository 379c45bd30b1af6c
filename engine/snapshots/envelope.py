"""The form of manifests as bytes: format number, checksum and content. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Protocol, TypeVar

import msgspec

__all__ = ["SealedManifest", "Unreadable", "sealed", "sha256", "unsealed"]

T = TypeVar("T")


class Unreadable(Exception):
    """A manifest cannot be used; the text says why."""


class SealedManifest(Protocol):
    """A manifest as it is stored; each kind of manifest has a name of its own for `content`."""

    @property
    def format(self) -> int: ...
    @property
    def sha256(self) -> str: ...
    @property
    def content(self) -> msgspec.Raw: ...


def sha256(content: bytes) -> str:
    """Return the checksum of some bytes."""
    return hashlib.sha256(content).hexdigest()


def sealed(envelope: Callable[[int, str, msgspec.Raw], SealedManifest], version: int, manifest: object) -> bytes:
    """Return a manifest as bytes, with a checksum."""
    raw = msgspec.json.encode(manifest)
    return msgspec.json.encode(envelope(version, sha256(raw), msgspec.Raw(raw)))


def unsealed(envelope: type[SealedManifest], version: int, kind: type[T], raw: bytes) -> T:
    """Return the manifest of some bytes; `version` is the highest format that is known.

    Raises Unreadable.
    """
    try:
        found = msgspec.json.decode(raw, type=envelope)
        if found.format > version:
            raise Unreadable(
                f"it has format {found.format}, this Tidemill knows formats up to {version}: a later version wrote it"
            )
        if sha256(bytes(found.content)) != found.sha256:
            raise Unreadable("its checksum is wrong")
        return msgspec.json.decode(found.content, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Unreadable(f"it is damaged: {error}") from error

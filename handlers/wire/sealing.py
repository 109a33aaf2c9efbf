"""Sealed values: personal data under a tenant's data key.

A value is sealed as a token `sealed:<key id>:<base64>`, the base64 being a nonce and AES-256-GCM over the
value's JSON, bound to the tenant and the key. A token is a plain text in JSON, so whatever holds one (an
event, a state, an answer) is opened by putting the value's JSON in the token's place. Once the key is
destroyed, `erased` stands there instead.

An object is sealed as one value, its keys too, and stays an object: `{"sealed:": token}`. Nobody can send
such a key. In place of this object stands what the token holds, or `{"sealed:": "erased"}`. Objects that were
stored before have each of their values sealed by itself; they are opened like any other.
"""

from __future__ import annotations

import os
import re
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any, TypeAlias, TypeVar, cast
from uuid import UUID

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from msgspec import UNSET, inspect
from msgspec.structs import replace

from tenant_domain.values import SEALED

ERASED = "erased"
"""What is shown in the place of a value whose key is destroyed."""

UNREADABLE = "unreadable"
"""What is shown in the place of a value that its key does not open: it is damaged, or the key is."""

NOBODY = UUID(int=0)
"""Whose key seals what belongs to no tenant."""

KEY_BYTES = 32
_NONCE = 12
_PREFIX = SEALED.encode()
_ID_LENGTH = 36

_TOKEN = re.compile(
    rb'(?P<object>\{"sealed:": ?)?'
    rb'"sealed:(?P<key>[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}):(?P<content>[A-Za-z0-9_-]+)"'
    rb"(?(object)\})"
)
_ERASED_TEXT = b'"%b"' % ERASED.encode()
_ERASED_OBJECT = b'{"%b":%b}' % (SEALED.encode(), _ERASED_TEXT)
_UNREADABLE_TEXT = b'"%b"' % UNREADABLE.encode()
_UNREADABLE_OBJECT = b'{"%b":%b}' % (SEALED.encode(), _UNREADABLE_TEXT)

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode

Struct = TypeVar("Struct", bound=msgspec.Struct)


class DataKey:
    """A key of one tenant. It never shows itself."""

    __slots__ = ("_aead", "_bound_to", "_head", "id", "tenant_id")

    def __init__(self, tenant_id: UUID, key_id: UUID, secret: bytes) -> None:
        self.tenant_id = tenant_id
        self.id = key_id
        self._aead = AESGCM(secret)
        self._bound_to = tenant_id.bytes + key_id.bytes
        self._head = f"{SEALED}{key_id}:"

    @classmethod
    def lost(cls, tenant_id: UUID, key_id: UUID) -> DataKey:
        """Return what stands for a key that cannot be had any more: it opens nothing."""
        return cls(tenant_id, key_id, os.urandom(KEY_BYTES))

    def __repr__(self) -> str:
        return f"DataKey({self.id}, hidden)"

    def token(self, value: Any) -> str:
        """Return the sealed form of a JSON value."""
        return self._head + _text(self._sealed(_encode(value)))

    def body(self, content: bytes) -> bytes:
        """Return the sealed form of bytes: `sealed:<key id>:`, and behind it bytes as they are."""
        return self._head.encode() + self._sealed(content)

    def open(self, sealed: bytes) -> bytes | None:
        """Return what nonce and ciphertext hold; None when it was not this key that sealed them."""
        try:
            return self._aead.decrypt(sealed[:_NONCE], sealed[_NONCE:], self._bound_to)
        except (InvalidTag, ValueError):
            return None

    def _sealed(self, content: bytes) -> bytes:
        nonce = os.urandom(_NONCE)
        return nonce + self._aead.encrypt(nonce, content, self._bound_to)


Keys: TypeAlias = Mapping[UUID, DataKey]
"""Data keys by their ids. One that is missing is destroyed, or not the asker's."""


def key_ids(text: bytes) -> set[UUID]:
    """Return the ids of the keys that the tokens in JSON were sealed with."""
    if _PREFIX not in text:
        return set()
    return {msgspec.convert(found["key"].decode(), UUID) for found in _TOKEN.finditer(text)}


def opened_json(text: bytes, keys: Keys) -> bytes:
    """Return JSON with all its tokens opened."""
    return _TOKEN.sub(partial(_plain, keys), text) if _PREFIX in text else text


def _plain(keys: Keys, found: re.Match[bytes]) -> bytes:
    key = keys.get(UUID(found["key"].decode()))
    if key is None:
        return _ERASED_TEXT if found["object"] is None else _ERASED_OBJECT
    content = key.open(_decoded(found["content"]))
    if content is None:
        return _UNREADABLE_TEXT if found["object"] is None else _UNREADABLE_OBJECT
    return content


_URL_SAFE, _PLAIN = bytes.maketrans(b"+/", b"-_"), bytes.maketrans(b"-_", b"+/")


def _text(content: bytes) -> str:
    """Return bytes in base64 that may stand in URLs: what `base64` does, in fewer calls."""
    return b2a_base64(content, newline=False).translate(_URL_SAFE).rstrip(b"=").decode()


def _decoded(text: bytes) -> bytes:
    try:
        return a2b_base64(text.translate(_PLAIN) + b"==")
    except ValueError:
        return b""  # what no key opens


def shows_unreadable(sealed_text: bytes, text: bytes) -> bool:
    """Return whether a value that is sealed in the first text is unreadable in the second."""
    return text.count(_UNREADABLE_TEXT) > sealed_text.count(_UNREADABLE_TEXT)


def key_of_body(body: bytes) -> UUID | None:
    """Return the id of the key that bytes were sealed with; None for bytes as they were sent."""
    if not body.startswith(_PREFIX):
        return None
    try:
        return UUID(body[len(_PREFIX) :][:_ID_LENGTH].decode())
    except (UnicodeDecodeError, ValueError):
        return None


def opened_body(body: bytes, keys: Keys) -> bytes | None:
    """Return the bytes that `DataKey.body` sealed; unsealed ones as they are, None for erased ones."""
    key_id = key_of_body(body)
    if key_id is None:
        return body
    key = keys.get(key_id)
    return None if key is None else key.open(body[len(_PREFIX) + _ID_LENGTH + 1 :])


def needs_sealing(value: msgspec.Struct) -> bool:
    """Return whether an event or a state has a personal field that is not sealed."""
    return any(_needs_sealing(getattr(value, name), walk) for name, walk in _fields(type(value)))


def _needs_sealing(field: Any, walk: _Walk) -> bool:
    if field is None or field is UNSET:
        return False
    if walk is _struct:
        return isinstance(field, msgspec.Struct) and needs_sealing(field)
    return not _is_sealed(field)


def sealed(value: Struct, key: DataKey) -> Struct:
    """Return an event or a state with its personal fields sealed; those that are sealed stay as they are."""

    def seal(field: Any) -> Any:
        if _is_sealed(field):
            return field
        token = key.token(field)
        return {SEALED: token} if isinstance(field, dict) else token

    return _changed(value, seal)


def opened(value: Struct, keys: Keys) -> Struct:
    """Return an event or a state with its personal fields opened."""

    def unseal(field: Any) -> Any:
        if isinstance(field, dict):
            text = _encode(field)
            return _decode(opened_json(text, keys)) if _PREFIX in text else cast("Any", field)
        if not _is_sealed(field):
            return field
        found = _TOKEN.fullmatch(b'"%b"' % field.encode())
        return field if found is None else _decode(_plain(keys, found))

    return _changed(value, unseal)


def _is_sealed(field: Any) -> bool:
    """Return whether a personal field is sealed; an object that is empty needs not be."""
    if isinstance(field, dict):
        values = cast("dict[str, Any]", field)
        return not values or (len(values) == 1 and _is_sealed(values.get(SEALED)))
    return isinstance(field, str) and field.startswith(SEALED)


# What is personal in a type is found once for each: a type without it costs one look-up.

_Change: TypeAlias = Callable[[Any], Any]
_Walk: TypeAlias = Callable[[Any, _Change], Any]


def _changed(value: Any, change: _Change) -> Any:
    given = {
        name: walk(field, change)
        for name, walk in _fields(cast("type[msgspec.Struct]", type(value)))
        if (field := getattr(value, name)) is not None and field is not UNSET
    }
    return replace(value, **given) if given else value


@cache
def _fields(cls: type[msgspec.Struct]) -> tuple[tuple[str, _Walk], ...]:
    kind = inspect.type_info(cls)
    assert isinstance(kind, inspect.StructType)
    found = ((field.name, _walk(field.type)) for field in kind.fields)
    return tuple((name, walk) for name, walk in found if walk is not None)


def _walk(kind: inspect.Type) -> _Walk | None:
    match kind:
        case inspect.Metadata():
            return _value if kind.extra and kind.extra.get("personal") else _walk(kind.type)
        case inspect.UnionType():
            return next((walk for each in kind.types if (walk := _walk(each))), None)
        case inspect.StructType():
            return _struct if _fields(kind.cls) else None
        case _:
            return None


def _value(value: Any, change: _Change) -> Any:
    return value if value is None or value is UNSET else change(value)


def _struct(value: Any, change: _Change) -> Any:
    return _changed(value, change) if isinstance(value, msgspec.Struct) else value

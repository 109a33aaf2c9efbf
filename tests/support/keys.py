"""The master key of the tests, and what opens with it."""

from typing import Any, cast

from handlers.adapters.keyring import Keyring
from handlers.adapters.keys import MasterKey
from handlers.store.connections import Connections
from handlers.store.event_store import EventStore
from handlers.store.tenant_keys import TenantKeyRows

KEY = MasterKey(b"k" * 32)


def keyring_of(store: EventStore, **more: Any) -> Keyring:
    """Return a keyring over the keys of a store."""
    return Keyring(store.tenant_keys, KEY, **more)


def reading_keyring(connections: Connections) -> Keyring:
    """Return a keyring for queries over these connections."""
    return Keyring(TenantKeyRows(connections), KEY)


def same_but_sealed(sealed: Any, plain: Any) -> bool:
    """Return whether two JSON values are the same, save that texts and objects of the first may be sealed."""
    if isinstance(sealed, str) and sealed.startswith("sealed:"):
        return not str(plain).startswith("sealed:")
    if isinstance(sealed, dict) and isinstance(plain, dict):
        one, other = cast("dict[str, Any]", sealed), cast("dict[str, Any]", plain)
        if one.keys() == {"sealed:"} != other.keys():
            return same_but_sealed(one["sealed:"], "an object")
        return one.keys() == other.keys() and all(same_but_sealed(one[key], other[key]) for key in one)
    return sealed == plain

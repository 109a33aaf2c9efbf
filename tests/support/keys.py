"""The master key of the tests, and what opens with it."""

from typing import Any

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

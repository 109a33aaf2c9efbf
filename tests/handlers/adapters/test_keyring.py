"""A tenant's sealed values are opened for that tenant, and for those who may see all."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from uuid import UUID, uuid4

import msgspec
import pytest

from handlers.adapters.keyring import Keyring, TenantKeys, WrappedKey
from handlers.adapters.keys import MasterKeyError
from handlers.wire.sealing import ERASED, KEY_BYTES, DataKey
from tenant_domain.tenant.events import ProfileUpdated
from tests.support.keys import KEY


class Rows:
    """Wrapped keys in memory; it counts how often it is asked for some."""

    def __init__(self) -> None:
        self.stored: list[WrappedKey] = []
        self.asked = 0

    async def of_tenants(self, tenants: Collection[UUID]) -> Sequence[WrappedKey]:
        return [row for row in self.stored if row[0] in tenants]

    async def by_id(self, keys: Collection[UUID]) -> Sequence[WrappedKey]:
        self.asked += 1
        return [row for row in self.stored if row[1] in keys]


@pytest.fixture
def rows() -> Rows:
    return Rows()


@pytest.fixture
def keyring(rows: Rows) -> Keyring:
    return Keyring(rows, KEY)


async def key_of(keyring: Keyring, rows: Rows, tenant: UUID) -> TenantKeys:
    """A tenant's key, stored as with the first thing that it seals."""
    keys = (await keyring.prepare([tenant]))[tenant]
    rows.stored.append((tenant, keys.current.id, keys.wrapped))
    return keys


async def test_given_another_tenants_sealed_value_when_it_is_read_as_ones_own_then_it_stays_closed(
    rows: Rows, keyring: Keyring
):
    owner, thief = uuid4(), uuid4()
    token = (await key_of(keyring, rows, owner)).current.token("Ada")
    await key_of(keyring, rows, thief)
    text = msgspec.json.encode({"name": token})
    fact = ProfileUpdated(metadata={"contact": token})
    for _ in range(2):  # with the key read, and with the key in memory
        assert msgspec.json.decode(await keyring.open_json(text, thief)) == {"name": ERASED}
        assert "Ada" not in str(await keyring.opened(thief, fact))
        assert await keyring.find(list(await keyring.find([rows.stored[0][1]])), thief) == {}
    assert rows.asked == 1
    assert keyring.open_json_at_once(text, thief) == msgspec.json.encode({"name": ERASED})
    assert msgspec.json.decode(await keyring.open_json(text, owner)) == {"name": "Ada"}
    assert keyring.open_json_at_once(text, owner) == msgspec.json.encode({"name": "Ada"})
    assert msgspec.json.decode(await keyring.open_json(text)) == {"name": "Ada"}


async def test_given_two_living_keys_then_the_newest_seals_and_both_open(rows: Rows, keyring: Keyring):
    tenant = uuid4()
    first = await key_of(keyring, rows, tenant)
    rows.stored, former = [], rows.stored
    second = await key_of(keyring, rows, tenant)
    rows.stored = [*former, *rows.stored]

    keys = (await keyring.prepare([tenant]))[tenant]

    assert keys.current.id == second.current.id
    assert set(keys.known) == {first.current.id, second.current.id}


async def test_given_a_wrapped_key_that_was_moved_to_another_tenant_then_it_opens_nothing(
    rows: Rows, keyring: Keyring
):
    owner, thief = uuid4(), uuid4()
    keys = await key_of(keyring, rows, owner)
    rows.stored[:] = [(thief, keys.current.id, keys.wrapped)]
    with pytest.raises(MasterKeyError):
        await Keyring(rows, KEY).find([keys.current.id], thief)


def test_given_a_sealed_value_when_it_is_put_under_another_tenant_or_key_then_it_does_not_open():
    tenant, key_id, secret = uuid4(), uuid4(), b"s" * KEY_BYTES
    sealed = DataKey(tenant, key_id, secret).body(b"Ada").partition(str(key_id).encode() + b":")[2]
    assert DataKey(tenant, key_id, secret).open(sealed) == b"Ada"
    assert DataKey(uuid4(), key_id, secret).open(sealed) is None
    assert DataKey(tenant, uuid4(), secret).open(sealed) is None


async def test_given_a_destroyed_key_then_what_it_sealed_is_shown_as_erased(rows: Rows, keyring: Keyring):
    tenant = uuid4()
    keys = await key_of(keyring, rows, tenant)
    text = msgspec.json.encode({"name": keys.current.token("Ada")})
    rows.stored[:] = [(tenant, keys.current.id, None)]
    assert msgspec.json.decode(await keyring.open_json(text)) == {"name": ERASED}


async def test_given_a_destroyed_key_then_what_comes_late_is_sealed_with_one_that_is_stored_nowhere(
    rows: Rows, keyring: Keyring
):
    tenant = uuid4()
    rows.stored[:] = [(tenant, uuid4(), None)]
    late = (await keyring.prepare([tenant]))[tenant]
    assert late.wrapped is None
    assert late.current.id != rows.stored[0][1]

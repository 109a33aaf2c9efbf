"""Personal fields are sealed where they stand: a text as a token, an object as one value."""

from typing import Any, cast
from uuid import UUID

import msgspec
import pytest

from handlers.wire.sealing import DataKey, key_ids, needs_sealing, opened, opened_json, sealed
from tenant_domain.tenant.events import ProfileUpdated, ProvisioningStarted
from tests.support.examples import EVENT_EXAMPLES

TENANT, OTHER = UUID(int=1), UUID(int=2)
KEY = DataKey(TENANT, UUID(int=11), b"k" * 32)
KEYS = {KEY.id: KEY}
UPDATED = cast("ProfileUpdated", EVENT_EXAMPLES[ProfileUpdated.name])
STARTED = cast("ProvisioningStarted", EVENT_EXAMPLES[ProvisioningStarted.name])


def encoded(value: Any) -> bytes:
    return msgspec.json.encode(value)


@pytest.mark.parametrize("fact", [UPDATED, STARTED], ids=lambda fact: fact.name)
def test_what_was_sealed_is_opened_as_it_was(fact: ProfileUpdated | ProvisioningStarted):
    kept = sealed(fact, KEY)
    assert not needs_sealing(kept)
    assert opened(kept, KEYS) == fact
    assert opened_json(encoded(kept), KEYS) == encoded(fact)
    assert key_ids(encoded(kept)) == {KEY.id}


def test_an_object_is_one_value_and_its_keys_are_sealed_too():
    kept = encoded(sealed(ProfileUpdated(metadata={f"key {n}": "" for n in range(1000)}), KEY))
    assert b"key 7" not in kept
    assert kept.count(b'"sealed:00000000') == 1
    assert len(kept) < 30_000


def test_an_object_stays_an_object_when_its_key_is_destroyed():
    kept = sealed(UPDATED, KEY)
    assert opened(kept, {}).metadata == {"sealed:": "erased"}
    shown: dict[str, Any] = msgspec.json.decode(opened_json(encoded(kept), {}))
    assert shown["metadata"] == shown["settings"] == {"sealed:": "erased"}


def test_an_empty_object_needs_no_seal():
    assert not needs_sealing(ProfileUpdated(metadata={}))


def test_what_is_sealed_stays_as_it_is():
    kept = sealed(UPDATED, KEY)
    assert sealed(kept, KEY) == kept


def test_an_object_whose_key_was_destroyed_is_sealed_with_what_came_to_it():
    mixed = ProfileUpdated(metadata={"sealed:": "erased", "crm": "7"})
    kept = sealed(mixed, KEY)
    assert b"crm" not in encoded(kept)
    assert opened(kept, KEYS) == mixed


def test_objects_whose_values_were_sealed_one_by_one_are_opened():
    plain = {"mfa": {"required": True}, "locale": "en", "": [1, None]}
    former = ProfileUpdated(
        metadata={"crm": KEY.token("7")}, settings={key: KEY.token(value) for key, value in plain.items()}
    )
    read = ProfileUpdated(metadata={"crm": "7"}, settings=plain)
    assert opened(former, KEYS) == read
    assert opened_json(encoded(former), KEYS) == encoded(read)
    assert opened(former, {}).metadata == {"crm": "erased"}


def test_nobody_elses_key_opens_it():
    stranger = DataKey(OTHER, KEY.id, b"k" * 32)
    assert opened(sealed(UPDATED, KEY), {KEY.id: stranger}).metadata == {"sealed:": "erased"}


def test_json_that_was_written_with_blanks_is_opened():
    token = KEY.token({"a": 1})
    text = b'{"metadata": {"sealed:": "%b"}, "last": {"name": "%b"}}' % (token.encode(), token.encode())
    assert opened_json(text, KEYS) == b'{"metadata": {"a":1}, "last": {"name": {"a":1}}}'

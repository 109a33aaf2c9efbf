"""The keyring: each tenant's data key, made with the first thing that it seals, and kept for a moment only.

A tenant without a key gets one that is stored together with what it seals, in the same append. One whose key
is destroyed gets a key that is never stored: what comes late can be written, and nobody will read it.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from time import monotonic
from typing import Any, Generic, NamedTuple, Protocol, TypeAlias, TypeVar
from uuid import UUID, uuid4

import msgspec

from handlers.wire.sealing import KEY_BYTES, DataKey, Keys, key_ids, opened, opened_json

FRESH = 10.0
"""Seconds that a key stays in memory, whatever is heard of it."""

_MOST = 20_000
"""Tenants, and keys, that are kept in memory: some 10 MB."""

Struct = TypeVar("Struct", bound=msgspec.Struct)
Fact = TypeVar("Fact")
Entry = TypeVar("Entry")


class KeyNotUnwrapped(Exception):
    """A data key was not wrapped by this key wrap, or for something else: nothing is known of it."""


class KeyWrap(Protocol):
    """What protects data keys at rest: the local master key, or a key management service."""

    async def wrap(self, secret: bytes, bound_to: bytes) -> bytes:
        """Return the key as it is stored."""
        ...

    async def unwrap(self, wrapped: bytes, bound_to: bytes) -> bytes:
        """Return the key. Raises KeyNotUnwrapped where this did not wrap it for what it is bound to."""
        ...


WrappedKey: TypeAlias = tuple[UUID, UUID, bytes | None]
"""Tenant, key, and the key itself as it is stored: None for a destroyed one."""


ReadKeys: TypeAlias = Callable[[Collection[UUID]], Awaitable[Sequence[WrappedKey]]]
"""Reads all keys of some tenants, oldest first."""


class KeyRows(Protocol):
    """Where the wrapped keys stand."""

    async def of_tenants(self, tenants: Collection[UUID]) -> Sequence[WrappedKey]:
        """Return all keys of the tenants, oldest first."""
        ...

    async def by_id(self, keys: Collection[UUID]) -> Sequence[WrappedKey]:
        """Return these keys; those that never were are missing."""
        ...


Moment: TypeAlias = tuple[int, int]
"""A connection, and how many hints there were: while it is the same, nothing was told, and nothing missed."""


class LastOpened:
    """The tenant's state that was opened last, and what it was opened to.

    It goes from memory with the keys that open it. A state is known by what it is, not by what it equals:
    one that was loaded anew is opened anew.
    """

    __slots__ = ("_plain", "_state")

    def __init__(self) -> None:
        self._state: object = None
        self._plain: Any = None

    def of(self, state: Struct, keys: Keys) -> Struct:
        """Return a state with its personal fields opened."""
        if state is not self._state:
            self._state, self._plain = state, opened(state, keys)
        return self._plain

    def follow(self, former: object, state: object, evolve: Callable[[Any, Fact], Any], fact: Fact) -> None:
        """Let a fact bring what was opened from `former` to `state`: cheaper than to open that."""
        if former is self._state and former is not None:
            self._state, self._plain = state, evolve(self._plain, fact)


class TenantKeys(NamedTuple):
    """What seals for a tenant (`current`), and what opens: `known`, by id.

    A `wrapped` one is new, to be stored together with the first thing that it seals; `moment` is when it was
    made. `last` is what was opened with them.
    """

    current: DataKey
    known: Keys
    last: LastOpened
    wrapped: bytes | None = None
    moment: Moment | None = None

    def opened(self, state: Struct) -> Struct:
        """Return a state of the tenant with its personal fields opened."""
        return self.last.of(state, self.known)


class Keyring:
    """The data keys of all tenants. `clock` is monotonic, in seconds.

    `hearing` says on which connection the ends of keys are heard, None while nobody knows: then no key stays
    in memory, and with another connection none of those that did.
    """

    def __init__(
        self,
        rows: KeyRows,
        wrap: KeyWrap,
        *,
        fresh: float = FRESH,
        hearing: Callable[[], int | None] = lambda: 0,
        clock: Callable[[], float] = monotonic,
        new_id: Callable[[], UUID] = uuid4,
        new_secret: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self._rows, self._wrap = rows, wrap
        self._new_id, self._new_secret = new_id, new_secret
        self._tenants = _Recent[TenantKeys](fresh, clock)
        self._keys = _Recent[DataKey | None](fresh, clock)
        self._hearing, self._heard_on = hearing, hearing()
        self._told = 0

    async def prepare(
        self, tenants: Collection[UUID], read: ReadKeys | None = None
    ) -> dict[UUID, TenantKeys]:
        """Return the keys of each tenant, so that sealing needs no wait.

        Those that are not in memory are read by `read`, if given: with whatever else is needed. A new key is
        not kept here: it is the tenant's once it is `stored`.
        """
        moment = self._moment()
        found = {tenant: keys for tenant in tenants if (keys := self._tenants.get(tenant))}
        missing = [tenant for tenant in tenants if tenant not in found]
        if not missing:
            return found
        stored: dict[UUID, list[WrappedKey]] = {}
        for row in await (read or self._rows.of_tenants)(missing):
            stored.setdefault(row[0], []).append(row)
        for tenant in missing:
            rows = stored.get(tenant)
            made = self._made(tenant, moment) if rows is None else self._loaded(tenant, rows)
            found[tenant] = await made
        self._keep(moment, self._tenants, {each: found[each] for each in missing if not found[each].wrapped})
        return found

    def stored(self, made: Iterable[TenantKeys]) -> None:
        """Keep new keys, now that they are stored, unless they may have ended meanwhile."""
        for keys in made:
            self._keep(keys.moment, self._tenants, {keys.current.tenant_id: keys._replace(wrapped=None)})

    async def find(
        self, ids: Collection[UUID], tenant_id: UUID | None = None, *, lenient: bool = False
    ) -> Keys:
        """Return those of the keys that are not destroyed; with `tenant_id`, only that tenant's.

        Raises KeyNotUnwrapped; when `lenient`, a key that cannot be unwrapped is one that opens nothing.
        """
        moment = self._moment()
        found = {key_id: self._keys.get(key_id) for key_id in ids if key_id in self._keys}
        missing = [key_id for key_id in ids if key_id not in found]
        if missing:
            rows = {row[1]: row for row in await self._rows.by_id(missing)}
            lost: set[UUID] = set()
            for key_id in missing:
                row = rows.get(key_id)
                try:
                    found[key_id] = None if row is None else await self._unwrapped(row)
                except KeyNotUnwrapped:
                    if row is None or not lenient:
                        raise
                    found[key_id] = DataKey.lost(row[0], key_id)
                    lost.add(key_id)
            self._keep(moment, self._keys, {each: found[each] for each in missing if each not in lost})
        return _usable(found, tenant_id)

    def forget(self, tenant_id: UUID) -> None:
        """Keep no key of the tenant in memory: they were destroyed, or will be read again."""
        self._told += 1
        self._tenants.drop(lambda tenant, _: tenant == tenant_id)
        self._keys.drop(lambda _, key: key is not None and key.tenant_id == tenant_id)

    def forget_all(self) -> None:
        """Keep no key in memory: the database may have lost some of them."""
        self._told += 1
        self._tenants.clear()
        self._keys.clear()

    async def open_json(self, text: bytes, tenant_id: UUID | None = None, *, lenient: bool = False) -> bytes:
        """Return JSON with its sealed values opened, with `tenant_id` only that tenant's; see `find`."""
        ids = key_ids(text)
        return opened_json(text, await self.find(ids, tenant_id, lenient=lenient)) if ids else text

    def open_json_at_once(self, text: bytes, tenant_id: UUID) -> bytes | None:
        """Return JSON as `open_json` does; None when a key has to be read first."""
        ids = key_ids(text)
        if not ids:
            return text
        self._moment()
        if any(key_id not in self._keys for key_id in ids):
            return None
        found = {key_id: self._keys.get(key_id) for key_id in ids}
        return opened_json(text, _usable(found, tenant_id))

    async def opened(self, tenant_id: UUID, value: Struct) -> Struct:
        """Return a state or an event of the tenant with its personal fields opened."""
        return opened(value, await self.find(key_ids(msgspec.json.encode(value)), tenant_id))

    def _moment(self) -> Moment | None:
        """Return the moment, None while nothing is heard; forget all keys where one's end may be missed."""
        connection = self._hearing()
        if connection != self._heard_on:
            self._heard_on = connection
            self._tenants.clear()
            self._keys.clear()
        return None if connection is None else (connection, self._told)

    def _keep(self, moment: Moment | None, kept: _Recent[Entry], entries: Mapping[UUID, Entry]) -> None:
        """Keep what was read since `moment`, unless it may have ended meanwhile."""
        if moment is not None and moment == self._moment():
            for key, entry in entries.items():
                kept.put(key, entry)

    async def _made(self, tenant_id: UUID, moment: Moment | None = None) -> TenantKeys:
        key_id, secret = self._new_id(), self._new_secret(KEY_BYTES)
        wrapped = await self._wrap.wrap(secret, binding(tenant_id, key_id))
        key = DataKey(tenant_id, key_id, secret)
        return TenantKeys(key, {key_id: key}, LastOpened(), wrapped, moment)

    async def _loaded(self, tenant_id: UUID, rows: Iterable[WrappedKey]) -> TenantKeys:
        living = [key for row in rows if (key := await self._unwrapped(row)) is not None]
        if not living:
            return (await self._made(tenant_id))._replace(wrapped=None)
        return TenantKeys(living[-1], {key.id: key for key in living}, LastOpened())

    async def _unwrapped(self, row: WrappedKey) -> DataKey | None:
        tenant_id, key_id, wrapped = row
        if wrapped is None:
            return None
        return DataKey(tenant_id, key_id, await self._wrap.unwrap(wrapped, binding(tenant_id, key_id)))


def _usable(found: Mapping[UUID, DataKey | None], tenant_id: UUID | None) -> Keys:
    return {
        key_id: key for key_id, key in found.items() if key is not None and tenant_id in (None, key.tenant_id)
    }


def binding(tenant_id: UUID, key_id: UUID) -> bytes:
    """Return what a wrapped key is bound to: moved to another row, it is not unwrapped."""
    return tenant_id.bytes + key_id.bytes


class _Recent(Generic[Entry]):
    """A bounded map whose entries last for a while."""

    def __init__(self, fresh: float, clock: Callable[[], float]) -> None:
        self._fresh, self._clock = fresh, clock
        self._entries: OrderedDict[UUID, tuple[float, Entry]] = OrderedDict()

    def __contains__(self, key: UUID) -> bool:
        found = self._entries.get(key)
        return found is not None and self._clock() - found[0] < self._fresh

    def get(self, key: UUID) -> Entry | None:
        return self._entries[key][1] if key in self else None

    def put(self, key: UUID, entry: Entry) -> None:
        self._entries[key] = (self._clock(), entry)
        self._entries.move_to_end(key)
        while len(self._entries) > _MOST:
            self._entries.popitem(last=False)

    def clear(self) -> None:
        self._entries.clear()

    def drop(self, which: Callable[[UUID, Entry], bool]) -> None:
        for key in [key for key, (_, entry) in self._entries.items() if which(key, entry)]:
            del self._entries[key]

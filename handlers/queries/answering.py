"""The dispatcher of queries: what was asked, a read of it, a wait for a position where one is asked for."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any
from uuid import UUID

import msgspec
import psycopg
import structlog

from handlers.adapters.keyring import Keyring
from handlers.adapters.keys import MasterKeyError
from handlers.queries.asking import Asked, asked
from handlers.queries.following import column_of, followed, holder_of
from handlers.queries.generations import Generations
from handlers.queries.lists import listed
from handlers.queries.log import READERS
from handlers.queries.lookups import Lookups
from handlers.queries.memory import Memory
from handlers.queries.positions import Positions
from handlers.queries.reading import Read, closed
from handlers.store.connections import Connections
from handlers.store.errors import StoreError
from projections.questions import Listing, Lookup, Row
from projections.read_model import KEY
from projections.registry import QUESTIONS
from projections.tenants import TENANT
from sagas.registry import SAGAS
from tenant_domain.catalogue import Policy
from tenant_domain.refusals import RateLimited, StaleRead, TenantNotFound, Unavailable
from tenant_domain.values import Status

log = structlog.get_logger()

_NO_FIELDS = (b"", b"{}")


class _Fields(msgspec.Struct, forbid_unknown_fields=True):
    min_position: Annotated[int, msgspec.Meta(ge=0)] = 0
    timeout_ms: Annotated[int, msgspec.Meta(ge=0, le=30_000)] = 1000


_fields = msgspec.json.Decoder(_Fields, strict=True).decode


def _position_in(fields: bytes) -> int | None:
    """Return the position that a query about a tenant asks for; None where its fields want a closer look."""
    if fields.count(b":") != (b'"min_position"' in fields) + (b'"timeout_ms"' in fields):
        return None  # one stands there twice, or another one
    try:
        return _fields(fields).min_position
    except msgspec.MsgspecError:
        return None


class Queries:
    """Answers queries. `connections` may serve others too; `positions` is the process's one watch.

    `concurrency` bounds the queries at work, `waiting` those that wait for a position: beyond either, a
    query is refused at once, so that memory and delay stay bounded whatever comes in. A read that is not
    answered within `unavailable_after` seconds makes the query `unavailable`. `policy` says which plans there
    are besides those that tenants have. Whoever hears hints
    feeds them to `memory` and `positions`. Rows and facts hold personal fields sealed; `keyring` opens them
    in the answer, and nowhere else.
    """

    def __init__(
        self,
        connections: Connections,
        keyring: Keyring,
        positions: Positions | None = None,
        *,
        memory: Memory | None = None,
        concurrency: int = 256,
        waiting: int = 2000,
        unavailable_after: float = 2.0,
        policy: Policy | None = None,
    ) -> None:
        self._connections = connections
        self._keyring = keyring
        self._generations = Generations(connections)
        self.positions = positions or Positions(self._generations.position)
        self.memory = memory or Memory()
        self._lookups = {
            question: Lookups(question, self._generations)
            for question in QUESTIONS.values()
            if isinstance(question, Lookup)
        }
        self._concurrency = concurrency
        self._at_work = 0
        self._most_waiting = waiting
        self._patience = unavailable_after
        self._known = {"plan": (policy or Policy()).plans, "kind": SAGAS}
        self._waiting = 0
        connections.incarnation.heard_by(self._begin_anew)

    async def close(self) -> None:
        """Stop watching positions; the connections are their owner's to close."""
        await self.positions.close()

    def _begin_anew(self) -> None:
        for each in (self._generations, self.positions, self.memory):
            each.forget()

    def at_once(self, tenant: str, query: str, fields: bytes) -> bytes | None:
        """Return the answer when it is in memory, and None when `answer` has to be asked."""
        if query != TENANT.name:
            return None
        min_position = 0 if fields in _NO_FIELDS else _position_in(fields)
        kept = None if min_position is None else self.memory.get(tenant, min_position)
        if kept is None:
            return None
        body = self._keyring.open_json_at_once(kept[1], UUID(tenant))
        return None if body is None else closed(body, kept[0])

    async def answer(self, tenant: str, query: str, fields: bytes = b"") -> bytes:
        """Return the answer as JSON.

        `tenant` is a tenant's id or `fleet`, `fields` a JSON object, or empty. Raises a Refusal, and nothing
        else.
        """
        kept = self.at_once(tenant, query, fields)
        if kept is not None:
            return kept
        question = asked(tenant, query, fields)
        try:
            sealed = await self._answered(question)
            async with asyncio.timeout(self._patience):
                pages = not isinstance(question.question, Lookup)  # one value never ends a page
                return await self._keyring.open_json(sealed, question.tenant_id, lenient=pages)
        except TimeoutError:
            log.warning("query without an answer of its database", query=query)
        except StoreError as error:
            log.warning("query without its database", query=query, error=str(error))
        except psycopg.Error as error:
            log.error("query failed", query=query, error=repr(error))
        except MasterKeyError as error:
            log.error("query without its key", query=query, error=str(error))
        raise Unavailable("The read models cannot be reached; try again soon.", retry_after=1)

    async def _answered(self, question: Asked) -> bytes:
        form = question.form
        read = await self._read(question)
        if read.position < form.min_position:
            if await self._reached(form.min_position, form.timeout_ms / 1000):
                read = await self._read(question)
            if read.position < form.min_position:
                detail = (
                    f"Position {form.min_position} was not reached in time; the answer would be as of"
                    f" {read.position}. Ask again, with a longer timeout_ms, or without min_position."
                )
                raise StaleRead(detail, position=read.position)
        if read.nothing and question.tenant_id is not None:
            await self._require_tenant(question.tenant_id, question.form.min_position or 0)
        return read.answer()

    async def _reached(self, position: int, within: float) -> bool:
        if self._waiting >= self._most_waiting:
            raise RateLimited("Too many queries wait for a position; try again soon.", retry_after=1)
        self._waiting += 1
        try:
            return await self.positions.reached(position, within)
        finally:
            self._waiting -= 1

    async def _read(self, question: Asked) -> Read:
        if self._at_work >= self._concurrency:
            raise RateLimited("Too many queries at once; try again soon.", retry_after=1)
        self._at_work += 1
        try:
            async with asyncio.timeout(self._patience):
                return await self._read_now(question)
        finally:
            self._at_work -= 1

    async def _read_now(self, question: Asked) -> Read:
        match question.question:
            case Lookup() as lookup:
                return await self._look_up(lookup, question)
            case Listing() as listing:
                read = await listed(
                    self._generations, listing, question.tenant_id, question.form, self._known
                )
                self.memory.showed(read.position)
                return read
            case log_question:
                reader = READERS[log_question]
                return await reader(self._connections, question.tenant_id, question.form)

    async def _look_up(self, lookup: Lookup, question: Asked) -> Read:
        tenant_id, form = question.tenant_id, question.form
        key = lookup.key(tenant_id, form)
        position, row, mark, behind = await self._lookups[lookup].find(key)
        if behind or position < form.min_position or (row is None and lookup.column != KEY):
            position, row = await self._followed(lookup, key, position, form.min_position)
        elif lookup is TENANT and row is not None and mark is not None and row.status != Status.DELETED:
            self.memory.keep(str(key), mark, position, row.body)
        self.memory.showed(position)
        nothing = lookup is not TENANT and (row is None or row.tenant_id != tenant_id)
        return Read(position, lambda: closed(lookup.answer(tenant_id, form, row), position), nothing)

    async def _followed(
        self, lookup: Lookup, key: Any, position: int, min_position: int
    ) -> tuple[int, Row | None]:
        """Read on from what the read model had at `position`; `key` is a stream, or a claimed name."""
        stream = key if lookup.column == KEY else await holder_of(self._connections, key)
        if stream is None:
            return position, None
        found = await followed(self._generations, lookup.model, stream)
        position = found.position if found.position >= min_position else found.head
        standing = found.standing
        if standing is not None and lookup.column != KEY:
            holds = column_of(lookup.model, lookup.column, standing.state) == key
            return position, found.row if holds else None
        return position, found.row

    async def _require_tenant(self, tenant_id: UUID, min_position: int) -> None:
        """Refuse when the tenant never existed: then it is not that it has no such thing.

        Tenants that are read at an earlier position than was asked for do not tell.
        """
        async with asyncio.timeout(self._patience):
            found = await self._lookups[TENANT].find(tenant_id)
        if found.row is None and not found.behind and found.position >= min_position:
            raise TenantNotFound(f"There is no tenant {tenant_id}.")

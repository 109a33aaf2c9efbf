"""Building a read model anew beside the live one, and the swap.

Queries name the generation they read, and read only while it is live; so the swap is one short transaction
over two rows, and the old table is dropped behind whoever still reads it.
"""

from __future__ import annotations

import gc
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import NamedTuple

import psycopg
import structlog

from handlers.projector.building import Building
from handlers.projector.tables import LIVE
from handlers.store.connections import Connections
from handlers.store.errors import StoreError
from projections.read_model import ReadModel

log = structlog.get_logger()

_TURN = """
DO $$ BEGIN
    CREATE TABLE IF NOT EXISTS service.rebuild_{name} ();
EXCEPTION WHEN duplicate_table OR unique_violation THEN
    NULL;  -- another process was quicker, and has committed
END $$"""

_TAKE = "LOCK TABLE service.rebuild_{name} IN EXCLUSIVE MODE"
"""Of a table of ours: an advisory lock would be anybody's, and a row's would keep the database from clearing
away dead rows for as long as a rebuild takes."""

_DEAD = b"SELECT generation FROM service.projections WHERE name = %s AND NOT live"

_FORGET = (
    b"DELETE FROM service.projection_parked WHERE name = %(name)s AND generation = %(generation)s",
    b"DELETE FROM service.projections WHERE name = %(name)s AND generation = %(generation)s",
)

_TRIGRAMS = b"""
SELECT n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
WHERE e.extname = 'pg_trgm'"""


class Rebuilt(NamedTuple):
    """What came of a rebuild: `events` is how many of the log were the read model's own."""

    name: str
    generation: int
    position: int
    events: int
    parked: int


async def rebuild(postgres_url: str, connections: Connections, model: ReadModel) -> Rebuilt:
    """Build `model` from the whole log beside its live generation, and put it in that one's place.

    Waits for another rebuild of the same model, wherever it runs. Raises StoreError and psycopg.Error; the
    live generation then stays, and what was begun is cleared away by the next rebuild.
    """
    async with _alone(postgres_url, model.name):
        return await _rebuilt(connections, model)


async def make(postgres_url: str, connections: Connections, model: ReadModel) -> None:
    """Build `model` if it is not there, or was made by an older revision of the code. Raises as `rebuild`."""
    if not await _is_made(connections, model):
        async with _alone(postgres_url, model.name):
            if not await _is_made(connections, model):  # by another process, while this one waited
                await _rebuilt(connections, model)


async def _is_made(connections: Connections, model: ReadModel) -> bool:
    live = {row[0]: row[4] for row in await connections.fetch(LIVE, ())}
    return live.get(model.name, 0) >= model.revision


async def _rebuilt(connections: Connections, model: ReadModel) -> Rebuilt:
    await _clear(connections, model)
    building = await Building.begun(connections, model)
    with _uncollected():
        await building.fill()
        await building.index(await _trigrams(connections))
        await building.approach()
        while not await building.swap():
            await building.approach()
    await _clear(connections, model)
    place = building.place
    log.info("read model rebuilt", read_model=model.name, generation=place.generation)
    return Rebuilt(model.name, place.generation, place.position, building.events, building.parked)


async def _clear(connections: Connections, model: ReadModel) -> None:
    """Drop generations of `model` that are not live: former ones, and those of a rebuild that died.

    Only for who holds the model's lock. A table that somebody reads for long is left to the next time.
    """
    for (generation,) in await connections.fetch(_DEAD, (model.name,)):
        try:
            async with connections.transaction() as transaction:
                await transaction.execute(b"SET LOCAL lock_timeout = '1s'")
                await transaction.execute(f"DROP TABLE IF EXISTS service.{model.table(generation)}".encode())
                for statement in _FORGET:
                    await transaction.execute(statement, {"name": model.name, "generation": generation})
        except StoreError as error:
            log.warning("old table stays", read_model=model.name, generation=generation, error=str(error))


async def _trigrams(connections: Connections) -> str | None:
    """Return the schema that pg_trgm is in, making it where possible; None without it: then search scans."""
    try:
        async with connections.transaction() as transaction:
            await transaction.execute(b"CREATE EXTENSION IF NOT EXISTS pg_trgm SCHEMA service")
    except (StoreError, psycopg.Error) as error:
        log.warning("search without an index", error=str(error))
    rows = await connections.fetch(_TRIGRAMS, ())
    return rows[0][0] if rows else None


@contextmanager
def _uncollected() -> Generator[None]:
    """Keep the cycle collector off: what is folded has no cycles, and looking for some doubles the time."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


@asynccontextmanager
async def _alone(postgres_url: str, name: str) -> AsyncGenerator[None]:
    """Hold the model's lock, on a connection of its own: it goes when the process does."""
    connecting = psycopg.AsyncConnection.connect(postgres_url, autocommit=True, connect_timeout=5)
    async with await connecting as connection:
        await connection.execute(_TURN.format(name=name).encode())
        async with connection.transaction():
            await connection.execute(_TAKE.format(name=name).encode())
            yield

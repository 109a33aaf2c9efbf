"""`tenantctl projections …`: how far the read models are, and what to do about one."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from cyclopts import App

from handlers.cli import output, where
from handlers.cli.exits import DONE, REFUSED, Misuse
from handlers.cli.where import Common, settings, store

if TYPE_CHECKING:
    from handlers.store.connections import Connections
    from projections.read_model import ReadModel

app = App(name="projections", help="Read models: how far they are, rebuild, retry.")

COMMON = Common()


@app.command
async def status(*, common: Common = COMMON) -> int:
    """Show how far each read model is, and the streams that it could not go on with.

    Exit code 1 when a read model is missing or a stream is parked.

    Example: tenantctl projections status
    """
    from handlers.projector.parking import parked_streams
    from handlers.projector.tables import LIVE
    from projections.registry import READ_MODELS

    async with connections(common) as pool, store(common) as log:
        head = await log.head()
        live = {row[0]: row for row in await pool.fetch(LIVE, ())}
        parked = await parked_streams(pool)
    records: list[dict[str, Any]] = []
    for name in READ_MODELS:
        _, generation, _, position, _ = live.get(name, (name, None, None, 0, None))
        streams = [stream for stream in parked if stream.read_model == name]
        records.append(
            {
                "name": name,
                "generation": generation,
                "position": position,
                "behind": head - position,
                "parked": [stream._asdict() for stream in streams],
            }
        )
    if common.as_json:
        output.lines(records)
    else:
        counted = [{**record, "parked": len(record["parked"])} for record in records]
        output.table(counted, ("name", "generation", "position", "behind", "parked"))
        columns = ("read_model", "stream_id", "tenant_id", "position", "topic", "error")
        if parked:
            output.table([stream._asdict() for stream in parked], columns)
            print("Once the reason is gone: tenantctl projections retry NAME")
    well = all(record["generation"] is not None and not record["parked"] for record in records)
    return DONE if well else REFUSED


@app.command
async def rebuild(name: str, *, common: Common = COMMON) -> None:
    """Build a read model anew beside the live one, and swap them; queries go on meanwhile.

    Example: tenantctl projections rebuild tenants

    Parameters
    ----------
    name
        Name of the read model, as in `projections status`.
    """
    from handlers.projector.rebuild import rebuild as build

    model = _model(name)
    async with connections(common) as pool:
        built = await build(settings(common).postgres_url.get_secret_value(), pool, model)
    if common.as_json:
        output.lines((built._asdict(),))
    else:
        output.fields(built._asdict())


@app.command
async def retry(name: str, *, common: Common = COMMON) -> int:
    """Fold the parked streams of a read model again, once the reason is gone.

    Exit code 1 when some stay parked.

    Example: tenantctl projections retry tenants

    Parameters
    ----------
    name
        Name of the read model, as in `projections status`.
    """
    from handlers.projector.parking import retry as again

    model = _model(name)
    async with connections(common) as pool:
        mended, parked = await again(pool, model)
    left = [stream._asdict() for stream in parked]
    if common.as_json:
        output.lines(({"name": name, "mended": mended, "parked": left},))
    else:
        print(f"{len(mended)} streams go on, {len(parked)} stay parked.")
        if left:
            output.table(left, ("stream_id", "position", "topic", "error"))
    return REFUSED if parked else DONE


@asynccontextmanager
async def connections(common: Common) -> AsyncGenerator[Connections]:
    """Give connections to PostgreSQL. Raises Unavailable, and says where PostgreSQL should be."""
    from handlers.store.connections import Connections
    from handlers.store.errors import StoreUnavailable

    pool = Connections(
        settings(common).postgres_url.get_secret_value(),
        readers=2,
        statement_timeout=600,  # a rebuild's statements are large
        lock_timeout=10,
        idle_timeout=60,
        pool_timeout=where.REACH,
    )
    await pool.open()
    try:
        yield pool
    except StoreUnavailable as error:
        raise await where.explained(common, error) from error
    finally:
        await pool.close()


def _model(name: str) -> ReadModel:
    from projections.registry import READ_MODELS

    if name not in READ_MODELS:
        raise Misuse(f"there is no read model {name!r}: {', '.join(READ_MODELS)}")
    return READ_MODELS[name]

"""The reference of `drain`: the least that a durable command costs, with none of what a service needs.

Pull a batch, validate, one transaction, publish the events pipelined, acknowledge: no ledger, no order of
tenants, no concurrency check, no fencing, no read of the log. Run as a process of its own, one a partition.
"""

from __future__ import annotations

import asyncio
import sys
from uuid import UUID, uuid4

import msgspec
import nats
import psycopg
import uvloop
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig, StreamConfig, SubjectTransform
from pydantic import BaseModel

BATCH = 500
COMMANDS, EVENTS = "BARE_COMMANDS", "BARE_EVENTS"

TABLES = """
CREATE TABLE bare_events (
    position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, tenant_id uuid NOT NULL, version int NOT NULL,
    topic text NOT NULL,
    data jsonb NOT NULL, at timestamptz NOT NULL DEFAULT now(), UNIQUE (tenant_id, version));
CREATE TABLE bare_outbox (position bigint PRIMARY KEY)"""

INSERT = """
WITH event AS (
    INSERT INTO bare_events (tenant_id, version, topic, data)
    SELECT * FROM unnest(%s::uuid[], %s::int[], %s::text[], %s::jsonb[]) RETURNING position
), out AS (INSERT INTO bare_outbox SELECT position FROM event)
SELECT max(position) FROM event"""


class Command(BaseModel):
    """The body of a command."""

    command_id: UUID
    tenant_id: UUID
    name: str


async def lay_out(nc: Client, postgres_url: str, parts: int) -> None:
    """Make the streams, consumers and tables."""
    js = nc.jetstream()
    target = f"bare.parts.{{{{partition({parts},1)}}}}.{{{{wildcard(1)}}}}"
    transform = SubjectTransform(src="bare.commands.*", dest=target)
    await js.add_stream(StreamConfig(COMMANDS, subjects=["bare.commands.*"], subject_transform=transform))
    await js.add_stream(StreamConfig(EVENTS, subjects=["bare.events.>"]))
    for part in range(parts):
        consumer = ConsumerConfig(
            durable_name=f"part-{part}",
            filter_subject=f"bare.parts.{part}.*",
            ack_policy=AckPolicy.ALL,
            max_ack_pending=4 * BATCH,
        )
        await js.add_consumer(COMMANDS, consumer)
    async with await psycopg.AsyncConnection.connect(postgres_url, autocommit=True) as connection:
        await connection.execute(TABLES)


async def fill(nc: Client, number: int, tenants: int) -> None:
    """Put commands for `tenants` tenants into the stream."""
    js = nc.jetstream(publish_async_max_pending=1000)
    acks = [
        await js.publish_async(
            f"bare.commands.{tenant}",
            Command(command_id=uuid4(), tenant_id=tenant, name=f"Acme {count}").model_dump_json().encode(),
        )
        for count in range(number)
        for tenant in (UUID(int=count % tenants),)
    ]
    await asyncio.gather(*acks)


class Pull:
    """Batches of one consumer, the next of which is on its way while one is worked on."""

    def __init__(self, nc: Client, part: int) -> None:
        self._nc = nc
        self._subject = f"$JS.API.CONSUMER.MSG.NEXT.{COMMANDS}.part-{part}"
        self._inbox = nc.new_inbox()
        self._messages: list[Msg] = []
        self._full = asyncio.Event()

    async def start(self) -> None:
        """Ask for the first batch."""
        await self._nc.subscribe(self._inbox, cb=self._take)
        await self._ask()

    async def batch(self) -> list[Msg]:
        """Return a batch, or what there is after a tenth of a second, and ask for the next."""
        await self._full.wait()
        messages, self._messages = self._messages, []
        self._full.clear()
        await self._ask()
        return messages

    async def _ask(self) -> None:
        wish = b'{"batch":%d,"expires":100000000}' % BATCH
        await self._nc.publish(self._subject, wish, reply=self._inbox)

    async def _take(self, message: Msg) -> None:
        if message.headers and "Status" in message.headers:
            self._full.set()
            return
        self._messages.append(message)
        if len(self._messages) >= BATCH:
            self._full.set()


class Acks:
    """Counts the answers of a stream to what was published."""

    def __init__(self, nc: Client) -> None:
        self._nc = nc
        self.inbox = nc.new_inbox()
        self._left = 0
        self._all = asyncio.Event()

    async def start(self) -> None:
        """Listen."""
        await self._nc.subscribe(self.inbox, cb=self._take)

    def expect(self, number: int) -> None:
        """Say how many will come."""
        self._left = number
        self._all.clear()

    async def all(self) -> None:
        """Wait for them."""
        await self._all.wait()

    async def _take(self, message: Msg) -> None:
        assert b'"error"' not in message.data, message.data
        self._left -= 1
        if not self._left:
            self._all.set()


async def work(nats_url: str, postgres_url: str, part: int) -> None:
    """Drain one partition until the process is ended."""
    nc = await nats.connect(nats_url, pending_size=64 * 1024 * 1024)
    connection = await psycopg.AsyncConnection.connect(postgres_url, autocommit=True)
    pull, acks = Pull(nc, part), Acks(nc)
    await pull.start()
    await acks.start()
    print("ready", flush=True)
    versions: dict[UUID, int] = {}
    while True:
        if messages := await pull.batch():
            await _one_batch(nc, connection, acks, versions, messages)
            await nc.publish(messages[-1].reply, b"+ACK")


async def _one_batch(
    nc: Client,
    connection: psycopg.AsyncConnection,
    acks: Acks,
    versions: dict[UUID, int],
    messages: list[Msg],
) -> None:
    commands = [Command.model_validate_json(message.data) for message in messages]
    rows: list[tuple[UUID, int, str, str]] = []
    for command in commands:
        version = versions[command.tenant_id] = versions.get(command.tenant_id, 0) + 1
        data = msgspec.json.encode({"name": command.name}).decode()
        rows.append((command.tenant_id, version, "tenant.profile_updated", data))
    await connection.execute(INSERT, [list(column) for column in zip(*rows, strict=True)], prepare=True)
    acks.expect(len(rows))
    for tenant, version, topic, data in rows:
        await nc.publish(
            f"bare.events.{tenant}.{topic}",
            data.encode(),
            reply=acks.inbox,
            headers={"Nats-Msg-Id": f"{tenant}-{version}"},
        )
    await acks.all()


if __name__ == "__main__":
    uvloop.run(work(sys.argv[1], sys.argv[2], int(sys.argv[3])))

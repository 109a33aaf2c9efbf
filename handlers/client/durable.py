"""The durable door: commands stored by the stream before anybody decides them, one by one or in bulk."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
from nats.errors import ConnectionClosedError, NoRespondersError, OutboundBufferLimitError
from nats.errors import TimeoutError as NatsTimeout
from nats.nuid import NUID

from handlers.client.errors import ClientClosed, NoAnswer, NotAccepted
from handlers.client.link import Link, ask
from handlers.client.requests import LARGEST_BODY, Packed, check_size
from tenant_domain.refusals import Refusal

BATCH = 500
"""Commands in one atomic batch: measured the quickest; the server takes up to 1,000."""

BATCH_BYTES = 4 * 1024 * 1024
"""Bytes of bodies in one batch, which the server holds in memory until it is whole."""

WINDOW = 256
"""Commands in flight at once where the stream takes no atomic batches."""


class Ack(msgspec.Struct, frozen=True):
    """What a stream answers to a publish."""

    seq: int = 0
    error: dict[str, Any] | None = None


_read = msgspec.json.Decoder(Ack).decode


def sequence_of(answer: bytes) -> int:
    """Return the sequence that a stream gave; raises NotAccepted where it refused."""
    ack = _read(answer)
    if ack.error is not None:
        raise NotAccepted(ack.error.get("err_code", 0), ack.error.get("description", "refused"))
    return ack.seq


async def stored(link: Link, command: Packed, timeout: float) -> int:
    """Publish one command until the stream has it; return its sequence.

    Sent again after a lost answer it may stand there twice, and is still done once. Raises NotAccepted,
    NoAnswer, and Unavailable when there is no stream.
    """
    check_size(command)
    try:
        return sequence_of(await ask(link, _subject(link, command), command.body, command.headers, timeout))
    except NoAnswer as error:
        raise NoAnswer.to(command.tenant_id, command.command_id, timeout) from error


async def stored_all(link: Link, commands: Iterable[Packed], timeout: float) -> list[int | Exception]:
    """Publish commands in their order, in atomic batches; return the sequence, or the error, of each.

    A batch that the stream refuses is published command by command, so that one that does not fit takes
    no other with it. `timeout` is for each batch.
    """
    results: list[int | Exception] = []
    for batch in _batches(commands):
        results += await _together(link, batch, timeout)
    return results


def _batches(commands: Iterable[Packed]) -> Iterator[list[Packed]]:
    batch: list[Packed] = []
    size = 0
    for command in commands:
        if batch and (len(batch) == BATCH or size + len(command.body) > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(command)
        size += len(command.body)
    if batch:
        yield batch


async def _together(link: Link, batch: list[Packed], timeout: float) -> list[int | Exception]:
    if len(batch) > 1 and all(len(command.body) <= LARGEST_BODY for command in batch):
        try:
            last = await _atomic(link, batch)
        except (NatsTimeout, NoRespondersError, OutboundBufferLimitError, ConnectionClosedError, NotAccepted):
            pass  # what is wrong, and with which of them, comes out one by one
        else:
            return list(range(last - len(batch) + 1, last + 1))
    return await _one_by_one(link, batch, timeout)


_ids = NUID()


async def _atomic(link: Link, batch: list[Packed]) -> int:
    """Publish a batch that is stored whole or not at all; return the sequence of its last command."""
    batch_id = _ids.next().decode()
    for number, command in enumerate(batch[:-1], 1):
        headers = {**command.headers, "Nats-Batch-Id": batch_id, "Nats-Batch-Sequence": str(number)}
        await link.nc.publish(_subject(link, command), command.body, headers=headers)
    last = batch[-1]
    commit = {"Nats-Batch-Id": batch_id, "Nats-Batch-Sequence": str(len(batch)), "Nats-Batch-Commit": "1"}
    answer = await link.nc.request(
        _subject(link, last), last.body, timeout=link.attempt, headers={**last.headers, **commit}
    )
    return sequence_of(answer.data)


async def _one_by_one(link: Link, batch: list[Packed], timeout: float) -> list[int | Exception]:
    free = asyncio.Semaphore(WINDOW)

    async def one(command: Packed) -> int | Exception:
        async with free:
            try:
                return await stored(link, command, timeout)
            except (Refusal, NoAnswer, NotAccepted, ClientClosed) as error:
                return error

    return list(await asyncio.gather(*(one(command) for command in batch)))


def _subject(link: Link, command: Packed) -> str:
    return link.subjects.command(command.tenant_id, command.command)

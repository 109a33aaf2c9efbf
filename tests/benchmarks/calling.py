"""Callers, one command after another each, and the HTTP edge as they reach it: with one connection each."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple, Self
from urllib.parse import urlsplit
from uuid import UUID

from tests.benchmarks.machine import measured
from tests.benchmarks.table import Sample

Call = Callable[[], Awaitable[None]]


class Calls(NamedTuple):
    """So many calls in all, by so many callers."""

    number: int
    callers: int

    async def timed(self, calls: Sequence[Call], pids: Sequence[int]) -> Sample:
        """Return the p50 in milliseconds, and the CPU that the processes `pids` used for each."""
        times: list[float] = []

        async def caller(call: Call) -> None:
            for _ in range(self.number // self.callers):
                began = time.perf_counter()
                await call()
                times.append((time.perf_counter() - began) * 1000)

        with measured(pids) as usage:
            await asyncio.gather(*(caller(call) for call in calls))
        return Sample(statistics.median(times), usage.cpu / len(times), usage.foreign)


class Edge:
    """One connection to the HTTP edge. The library's client would take ten times what the edge takes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, token: str) -> None:
        self._reader, self._writer, self._token = reader, writer, token

    @classmethod
    @asynccontextmanager
    async def on(cls, url: str, token: str) -> AsyncGenerator[Self]:
        """Open a connection, and close it at the end."""
        where = urlsplit(url)
        reader, writer = await asyncio.open_connection(where.hostname, where.port)
        try:
            yield cls(reader, writer, token)
        finally:
            writer.close()
            await writer.wait_closed()

    def renaming(self, tenant: UUID, numbers: Iterator[int]) -> Call:
        """Return the call that gives a tenant another name."""

        async def call() -> None:
            await self._post(
                f"/api/v1/tenants/{tenant}/commands/update_profile", b'{"name":"Acme %d"}' % next(numbers)
            )

        return call

    async def _post(self, path: str, body: bytes) -> None:
        head = (
            f"POST {path} HTTP/1.1\r\nHost: edge\r\nAuthorization: Bearer {self._token}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        self._writer.write(head.encode() + body)
        answer = await self._reader.readuntil(b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200"), answer
        length = next(
            int(line[15:]) for line in answer.lower().split(b"\r\n") if line.startswith(b"content-length:")
        )
        await self._reader.readexactly(length)

"""A TCP proxy in front of a real server: cut it, or lose the answer to what it did."""

import asyncio
import os
import socket
import struct
from typing import Self
from urllib.parse import urlsplit

_LONGEST_MARK = 64
"""Bytes."""


class Proxy:
    """Stands between a client and the server of a URL; `url` is the same through the proxy.

    `down` refuses and cuts all connections until `up`; in between `hush` and `speak` it says nothing, and
    nobody is told. What the server says comes `late` by so many seconds. `lose_answer` cuts the connections
    that carry `marked` bytes once the server has answered, before the client hears of it.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._parts = parts
        self._target = (parts.hostname, parts.port)
        self._writers: set[asyncio.StreamWriter] = set()
        self._near: set[asyncio.StreamWriter] = set()
        self._marked: bytes | None = None
        self.lost = asyncio.Event()
        self.late = 0.0
        self._speaking = asyncio.Event()
        self._speaking.set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        self._port = self._server.sockets[0].getsockname()[1]
        netloc = self._parts.netloc.replace(f":{self._parts.port}", f":{self._port}")
        self.url = self._parts._replace(netloc=netloc).geturl()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.down()

    async def down(self) -> None:
        """Refuse connections, and cut those that are there."""
        self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()
        await asyncio.sleep(0)

    def reset(self, said: bytes = b"") -> None:
        """Reset the connections that are there, as the kernel does for a process that died in the middle.

        `said` is the last that the clients get of the server; they find it together with the reset.
        """
        for writer in list(self._writers):
            end = writer.get_extra_info("socket")
            if writer in self._near:
                os.write(end.fileno(), said)
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

    async def up(self) -> None:
        """Take connections again."""
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", self._port)

    def hush(self) -> None:
        """Keep back what the server says."""
        self._speaking.clear()

    def speak(self) -> None:
        """Pass on what the server said meanwhile, and says."""
        self._speaking.set()

    def lose_answer(self, marked: bytes) -> None:
        """Cut the next connection that carries `marked` when the server has answered."""
        self._marked = marked

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(*self._target)
        self._writers |= {writer, far_writer}
        self._near.add(writer)
        cut = asyncio.Event()

        async def forth() -> None:
            before = b""  # the end of what was read last: a mark may reach over two reads
            while data := await reader.read(1 << 16):
                if self._marked is not None and self._marked in before + data:
                    self._marked = None
                    cut.set()
                before = data[-_LONGEST_MARK:]
                far_writer.write(data)
                await far_writer.drain()

        async def back() -> None:
            while data := await far_reader.read(1 << 16):
                if cut.is_set():
                    self.lost.set()
                    return
                await self._speaking.wait()
                await asyncio.sleep(self.late)
                writer.write(data)
                await writer.drain()

        tasks = [asyncio.create_task(forth()), asyncio.create_task(back())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for each in (writer, far_writer):
                each.transport.abort()
                self._writers.discard(each)
            self._near.discard(writer)

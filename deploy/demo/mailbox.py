"""A mail server of the demo's own: it takes every message, but refuses one recipient for good (RFC 5321)."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field

UNREACHABLE = "unreachable.example"
"""The domain of the mailbox that does not exist."""


@dataclass
class Mailbox:
    """A mail server on loopback, from `start` to `stop`; `delivered` counts what it took."""

    delivered: int = 0
    refused: int = 0
    _server: asyncio.Server | None = field(default=None, repr=False)

    async def start(self) -> str:
        """Listen on a free port, and return the URL for TENANTS_SMTP_URL."""
        self._server = await asyncio.start_server(self._talk, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        return f"smtp://127.0.0.1:{port}"

    async def stop(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 demo mail server\r\n")
        with contextlib.suppress(ConnectionError):
            while line := await reader.readline():
                answer = self._answer(line.decode("utf-8", "replace"))
                writer.write(answer + b"\r\n")
                if answer.startswith(b"354"):
                    await reader.readuntil(b"\r\n.\r\n")
                    self.delivered += 1
                    writer.write(b"250 taken\r\n")
                await writer.drain()
                if answer.startswith(b"221"):
                    break
        writer.close()

    def _answer(self, line: str) -> bytes:
        match line.upper().split()[0] if line.strip() else "":
            case "EHLO" | "HELO":
                return b"250-demo\r\n250-8BITMIME\r\n250 SMTPUTF8"
            case "RCPT" if UNREACHABLE in line:
                self.refused += 1
                return b"550 5.1.1 no such mailbox"
            case "DATA":
                return b"354 go on"
            case "QUIT":
                return b"221 bye"
            case "MAIL" | "RCPT" | "RSET" | "NOOP":
                return b"250 fine"
            case _:
                return b"502 not here"

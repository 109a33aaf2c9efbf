"""The demo from start to end: send, watch, show, check."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import tempfile
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg
from rich.console import Console
from rich.live import Live

from deploy.demo import checks, living, report
from deploy.demo.board import Board, latest, picture
from deploy.demo.checks import Check
from deploy.demo.ending import show_ending
from deploy.demo.mailbox import Mailbox
from deploy.demo.samples import FOLDER, Sample, load
from deploy.demo.traffic import Answered, Sender, query
from deploy.dev import Addresses, DevStack, Options

SETTLED_WITHIN = 120.0
"""Seconds in which every provisioning must have ended, one way or the other."""


@dataclass
class Demo:
    """What the parts of the demo share."""

    console: Console
    nc: Client
    addresses: Addresses
    data_dir: Path
    board: Board
    sender: Sender
    samples: Path


async def run(
    console: Console,
    *,
    data_dir: Path | None = None,
    keep: bool = False,
    samples: Path = FOLDER,
    summary: Console | None = None,
) -> int:
    """Run the demo on a fresh stack, and return 0 only if all of it came true, else 1.

    Without `data_dir` it uses a new folder, and removes it at the end; with `keep` the stack then goes on
    until it is stopped. `summary` gets, at the end, what all came to.
    """
    folder = data_dir or _new_folder()
    mailbox = Mailbox()
    environment = (("TENANTS_SMTP_URL", await mailbox.start()), ("TENANTS_LOG_LEVEL", "error"))
    stack = DevStack(Options(folder, environment=environment))
    try:
        with console.status("Starting real NATS and PostgreSQL, and the service on them …"):
            began = time.monotonic()
            addresses = await stack.start()
        console.print(f"[dim]Ready after {time.monotonic() - began:.1f} s[/]", highlight=False)
        async with _connected(addresses) as (nc, board, sender):
            demo = Demo(console, nc, addresses, folder, board, sender, samples)
            found = await _show(demo)
        report.verdict(console, found)
        if summary is not None:
            report.summary(summary, board, found)
        if keep:
            report.where(console, addresses, folder)
            with contextlib.suppress(asyncio.CancelledError):  # Ctrl-C ends the waiting, not the verdict
                await asyncio.Event().wait()
        return 0 if all(check.passed for check in found) else 1
    finally:
        await stack.stop()
        await mailbox.stop()
        if data_dir is None and not keep:
            shutil.rmtree(folder.parent, ignore_errors=True)


def _new_folder() -> Path:
    """Return a new folder that the database's own user can enter."""
    folder = Path(tempfile.mkdtemp(prefix="tenants-demo-"))
    folder.chmod(0o755)
    return folder / "data"


@asynccontextmanager
async def _connected(addresses: Addresses) -> AsyncGenerator[tuple[Client, Board, Sender]]:
    nc = await nats.connect(addresses.nats)
    board = Board()

    async def seen(message: Msg) -> None:
        _, _, tenant_id, *name = message.subject.split(".")
        position = int((message.headers or {})["ce-position"])
        board.take(tenant_id, ".".join(name), json.loads(message.data), position)

    await nc.jetstream().subscribe("tenants.events.>", stream="TENANT_EVENTS", ordered_consumer=True, cb=seen)
    sender = Sender(nc)
    await sender.open()
    try:
        yield nc, board, sender
    finally:
        await nc.close()


async def _show(demo: Demo) -> list[Check]:
    provisions = load("1-provision.jsonl", demo.samples)
    fails = load("2-fails.jsonl", demo.samples)
    report.title(demo.console, f"{len(provisions) + len(fails)} tenants are asked for over NATS")
    first, seconds = await _provision(demo, [*provisions[:20], *fails, *provisions[20:]])
    refused = await demo.sender.all(load("3-refused.jsonl", demo.samples))
    changes = await _one_by_one(demo, load("4-history.jsonl", demo.samples))
    await _settled(demo)

    repeats = [answered for answered in refused if answered.sample.expect == "repeated"]
    rejected = [answered for answered in refused if answered.sample.expect != "repeated"]
    durably = sum(answered.sample.door == "durable" for answered in rejected)
    letters = await _dead_letters(demo.nc, durably)
    report.refusals(demo.console, rejected, letters)
    ghost = fails[0]
    report.rollback(demo.console, demo.board, ghost)
    history, then, now = await _earlier(demo, changes[0].sample.tenant_id)
    report.history(demo.console, history, then, now)
    followed = await living.show(demo, load("5-operations.jsonl", demo.samples))
    await _settled(demo)
    report.rate(demo.console, len(first), seconds, demo.board)
    left = await checks.nothing_left(
        demo.nc, demo.addresses.postgres, demo.data_dir / "objects", ghost.tenant_id, ghost.body["subdomain"]
    )
    key_file = demo.data_dir / "keys" / "certificates.pem"
    certified = await show_ending(demo.console, demo.nc, _lasting(demo.board, provisions), key_file)
    await _settled(demo)
    return [
        checks.as_expected([*first, *refused, *changes, *(each.answered for each in followed)], demo.board),
        checks.repeated_alike(first, repeats),
        checks.dead_letters(durably, letters),
        left,
        checks.as_it_was(history, then, now),
        living.unchanged(followed),
        certified,
        await checks.read_models_agree(demo.nc, demo.board),
    ]


def _lasting(board: Board, samples: list[Sample]) -> Sample:
    """Return the last sample whose tenant is in service."""
    return next(s for s in reversed(samples) if board.lines[s.tenant_id].status == "active")


async def _provision(demo: Demo, samples: list[Sample]) -> tuple[list[Answered], float]:
    """Send the provisionings and watch the board until each has ended; return the answers and the seconds."""
    began = time.monotonic()
    sending = asyncio.create_task(demo.sender.all(samples))
    live = demo.console.is_terminal
    rows = max(5, min(40, demo.console.height - 8)) if live else len(samples)
    with Live(console=demo.console, refresh_per_second=20, transient=live) as view:
        while not (sending.done() and _all_ended(demo.board, samples)):
            if time.monotonic() - began > SETTLED_WITHIN:
                break
            if live:
                view.update(picture(demo.board, _rate(demo.board, began), latest(demo.board, rows)))
            await asyncio.sleep(0.05)
        seconds = time.monotonic() - began
        view.update(picture(demo.board, _rate(demo.board, began), latest(demo.board, rows)))
    if live:
        demo.console.print(picture(demo.board, f"{seconds:.2f} s", latest(demo.board, len(samples))))
    return await sending, seconds


def _rate(board: Board, began: float) -> str:
    ended = board.statuses()["active"] + board.statuses()["failed"]
    return f"{ended / (time.monotonic() - began):.0f} tenants/s"


def _all_ended(board: Board, samples: list[Sample]) -> bool:
    ended = {tenant_id for tenant_id, line in board.lines.items() if line.status in ("active", "failed")}
    return all(sample.tenant_id in ended for sample in samples)


async def _one_by_one(demo: Demo, samples: list[Sample]) -> list[Answered]:
    """Send samples of which each builds on the one before, and wait for the operation that each starts."""
    answers: list[Answered] = []
    for sample in samples:
        [answered] = await demo.sender.all([sample])
        answers.append(answered)
        operation_id = answered.outcome.get("operation_id")
        while operation_id is not None:
            state = await query(demo.nc, sample.tenant_id, "operation", operation_id=operation_id)
            if state.get("finished_at") or state.get("status") == "parked":
                break
            await asyncio.sleep(0.05)
    return answers


async def _settled(demo: Demo) -> None:
    """Wait until the board has all events up to the log's present end."""
    answer = await query(demo.nc, "fleet", "history", limit=1)
    async with asyncio.timeout(SETTLED_WITHIN):
        while demo.board.position < answer["position"]:  # noqa: ASYNC110 - the board is filled by a callback
            await asyncio.sleep(0.05)


async def _dead_letters(nc: Client, expected: int) -> int:
    """Return how many dead letters there are, once there are as many as expected or nothing more comes."""
    js = nc.jetstream()
    count = 0
    for _ in range(100):
        count = (await js.stream_info("TENANT_DEAD_LETTERS")).state.messages
        if count >= expected:
            break
        await asyncio.sleep(0.1)
    return count


async def _earlier(
    demo: Demo, tenant_id: str
) -> tuple[list[dict[str, object]], dict[str, object], dict[str, object]]:
    at = {"min_position": demo.board.position, "timeout_ms": 10_000}
    history = (await query(demo.nc, tenant_id, "history", limit=500, **at))["items"]
    now = await query(demo.nc, tenant_id, "tenant", **at)
    then = await query(demo.nc, tenant_id, "as_of", version=3)
    return history, then, now

"""What the demo prints besides the board."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from deploy.demo.board import Board, picture, telling
from deploy.demo.checks import Check
from deploy.demo.samples import Sample
from deploy.demo.traffic import Answered
from deploy.dev import Addresses

TOLD = 14
"""Tenants that the summary shows."""


def title(console: Console, text: str) -> None:
    """Print the heading of a part."""
    console.print()
    console.rule(Text(text, "bold"), align="left", style="dim")


def refusals(console: Console, rejected: Sequence[Answered], letters: int) -> None:
    """Show what was refused, and why."""
    title(console, f"{len(rejected)} messages are refused, and {letters} dead letters keep them")
    table = Table(box=None, pad_edge=False, header_style="bold dim")
    for name in ("sent", "refused as", "because"):
        table.add_column(name, overflow="ellipsis", no_wrap=name != "because")
    for answered in rejected:
        detail = answered.outcome.get("error", {}).get("detail", "")
        table.add_row(answered.sample.note, Text(answered.problem or "not refused", "red"), detail)
    console.print(table)


def rollback(console: Console, board: Board, sample: Sample) -> None:
    """Show the journal of the provisioning that failed."""
    title(console, f"{sample.body['name']} fails half-way: {sample.note}")
    for tenant_id, name, data in board.journal:
        if tenant_id == sample.tenant_id and name.startswith(("operation.", "tenant.")):
            fact(console, name, data)


def fact(console: Console, name: str, data: dict[str, Any]) -> None:
    """Show one event of a tenant or of an operation: its step, and why."""
    why = data.get("error") or data.get("reason") or "; ".join(data.get("output", {}).get("differences", ()))
    style = "red" if "failed" in name else "magenta" if "compens" in name or "rolled" in name else "green"
    line = Text.assemble((f"  {name:<34} {data.get('step', ''):<20} ", style), (str(why), "dim"))
    console.print(line, no_wrap=True, overflow="ellipsis")


def history(
    console: Console, facts: Sequence[dict[str, Any]], then: dict[str, Any], now: dict[str, Any]
) -> None:
    """Show a tenant's own facts, and the tenant then and now."""
    title(console, f"The history of {now['name']}, and the same tenant earlier")
    for each in facts:
        if each["type"].startswith("tenant."):
            data = {key: value for key, value in each["data"].items() if key not in ("admin", "operation_id")}
            text = f"  {each['position']:>5}  {each['time'][11:23]}  {each['type']:<28} "
            line = Text.assemble(text, (json.dumps(data, ensure_ascii=False), "dim"))
            console.print(line, no_wrap=True, overflow="ellipsis")
    table = Table(
        "",
        f"as of version {then['version']}",
        f"now, version {now['version']}",
        box=None,
        header_style="bold dim",
    )
    for field in ("name", "subdomain", "status", "metadata", "settings"):
        table.add_row(field, *(json.dumps(each[field], ensure_ascii=False) for each in (then, now)))
    console.print(table)


def rate(console: Console, tenants: int, seconds: float, board: Board) -> None:
    """Show how fast it went."""
    title(console, "The rate reached")
    console.print(
        f"  {tenants} tenants, each with schema, role, bucket, defaults, admin, notices, in {seconds:.2f} s: "
        f"[bold]{tenants / seconds:.0f} tenants/s[/]; {board.events} events so far.",
        highlight=False,
    )


def verdict(console: Console, found: Sequence[Check]) -> None:
    """Show every check."""
    title(console, "What had to come true")
    for check in found:
        mark = Text(" ✓ ", "bold green") if check.passed else Text(" ✗ ", "bold red")
        console.print(mark, check.what, Text(f"  ({check.seen})", "dim"), sep="", highlight=False)


def summary(console: Console, board: Board, found: Sequence[Check]) -> None:
    """Show what all came to: the tenants that tell most, and every check."""
    title(console, f"{len(board.lines)} tenants were asked for over NATS; {TOLD} of them")
    console.print(picture(board, "one certificate of deletion", telling(board, TOLD)))
    verdict(console, found)


def where(console: Console, addresses: Addresses, folder: Path) -> None:
    """Say where the stack is that goes on running, and what to try."""
    title(console, "Still running; Ctrl-C stops it")
    for name in ("nats", "http", "postgres", "admin_token"):
        console.print(
            f"  {name:<12} {getattr(addresses, name)}", soft_wrap=True, highlight=False, markup=False
        )
    console.print("  try, in another terminal:", style="dim")
    for line in ("tenants list", "operations list", "events tail", "dead-letters list"):
        console.print(f"    .venv/bin/tenantctl {line} --data-dir {folder}", highlight=False, markup=False)

"""The end of a tenant in the demo: it is suspended, then terminated, and its certificate checked offline."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from nats.aio.client import Client
from rich.console import Console
from rich.table import Table

from deploy.demo.checks import Check
from deploy.demo.report import title
from deploy.demo.samples import Sample
from deploy.demo.traffic import ANSWER_WITHIN, query
from handlers.adapters.certificates import NotValid, canonical, verified
from handlers.adapters.key_files import public_keys


async def show_ending(console: Console, nc: Client, sample: Sample, key_file: Path) -> Check:
    """Suspend and terminate the tenant of a sample, show each step, and check the certificate."""
    title(console, f"{sample.body['name']} is suspended, then terminated at once")
    suspended = await _ended(console, nc, sample, "suspend", {"reason": "Invoice 2026-10 is unpaid."})
    now = {"confirm_subdomain": sample.body["subdomain"], "retain_days": 0}
    terminated = await _ended(console, nc, sample, "terminate", now)
    found = await query(nc, sample.tenant_id, "certificate")
    what = "a terminated tenant is gone, and its certificate verifies offline"
    if "document" not in found or (suspended, terminated) != ("succeeded", "succeeded"):
        return Check(what, False, f"suspension {suspended}, termination {terminated}")
    try:
        said = verified(canonical(found["document"]), public_keys(key_file))
    except NotValid as reason:
        return Check(what, False, str(reason))
    _show(console, said)
    gone = (await query(nc, sample.tenant_id, "tenant")).get("type") == "/problems/tenant-gone"
    return Check(what, gone, f"signed by the key {said['key_id'][:12]}…, {len(said['stores'])} stores")


async def _ended(console: Console, nc: Client, sample: Sample, command: str, body: dict[str, Any]) -> str:
    """Have a command done, print the steps of its operation as they end, and return how it ended."""
    subject = f"tenants.rpc.{sample.tenant_id}.{command}"
    reply = await nc.request(subject, json.dumps(body).encode(), timeout=ANSWER_WITHIN)
    operation_id, shown = json.loads(reply.data).get("operation_id"), 0
    if operation_id is None:
        return "refused"
    position = json.loads(reply.data)["position"]
    while True:
        at = {"operation_id": operation_id, "min_position": position, "timeout_ms": 200}
        state = await query(nc, sample.tenant_id, "operation", **at)
        steps = [step for step in state.get("steps", ()) if step["status"] == "completed"]
        for step in steps[shown:]:
            console.print(f"  [green]✓[/] {state['kind']}: {step['name']}", highlight=False)
        shown = max(shown, len(steps))
        if state.get("finished_at") or state.get("status") == "parked":
            return state["status"]
        position = max(position, state.get("position", 0) + 1)


def _show(console: Console, certificate: dict[str, Any]) -> None:
    table = Table("store", "erased", "how", box=None, padding=(0, 2), header_style="bold dim", style="dim")
    for store in certificate["stores"]:
        table.add_row(store["store"], f"{store['count']} {store['what']}", store["how"])
    console.print(table)

"""The end of a tenant by the command line and over HTTP: hold, export, certificate, and who is refused."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx

from tests.handlers.cli.conftest import CommandLine
from tests.support.waiting import PATIENCE


def provisioned(tenantctl: CommandLine) -> dict[str, Any]:
    label = f"end-{uuid4().hex[:8]}"
    asked = tenantctl.json(
        *("tenants", "provision", "--name", "Ending Ltd", "--subdomain", label, "--wait"),
        *("--admin-email", "ada@ending.example", "--admin-name", "Ada Ending"),
    )
    return {"tenant_id": asked.lines[0]["tenant_id"], "subdomain": label}


def edge(tenantctl: CommandLine, **claims: str) -> httpx.Client:
    """Return a caller of the HTTP edge with a token for these claims."""
    options = [part for name, value in claims.items() for part in (f"--{name}", value)]
    token = tenantctl.json("token", "--user", "usr_1", *options).record["token"]
    at = json.loads((tenantctl.data_dir / "endpoints.json").read_text())["http"]
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.Client(base_url=f"{at}/api/v1/tenants", headers=headers, timeout=PATIENCE, trust_env=False)


def test_a_tenant_is_held_exported_and_ended_with_a_certificate(tenantctl: CommandLine, tmp_path: Path):
    made = provisioned(tenantctl)
    tenant, label = made["tenant_id"], made["subdomain"]
    wrong = tenantctl.json("tenants", "terminate", tenant, "--confirm-subdomain", "another")
    assert (wrong.code, json.loads(wrong.err)["type"]) == (1, "/problems/invalid-command")
    assert tenantctl.json("tenants", "legal-hold", "place", tenant, "--reason", "Case 26-114").code == 0
    held = tenantctl.json("tenants", "terminate", tenant, "--confirm-subdomain", label)
    assert (held.code, json.loads(held.err)["type"]) == (1, "/problems/legal-hold")
    assert "release_legal_hold" in json.loads(held.err)["detail"]
    person = tenantctl("tenants", "terminate", tenant, "--confirm-subdomain", label)
    assert "`tenantctl tenants legal-hold release`" in person.err
    released = [tenantctl.json("tenants", "legal-hold", "release", tenant) for _ in range(2)]
    assert [(each.code, each.record["result"]) for each in released] == [(0, {}), (0, {"changed": False})]

    ending = tenantctl.json("tenants", "terminate", tenant, "--confirm-subdomain", label)
    assert ending.record["operation_id"]
    back = tenantctl.json("tenants", "cancel-termination", tenant, "--wait")
    assert back.lines[1]["status"] == "cancelled"
    assert tenantctl.json("tenants", "show", tenant).record["status"] == "active"

    run = tenantctl.json("tenants", "terminate", tenant, "--confirm-subdomain", label).record["operation_id"]
    preserved(tenantctl, tenant, run)
    folder = tmp_path / "export"
    first = tenantctl.json("tenants", "export", tenant, "--to", folder).record
    again = tenantctl.json("tenants", "export", tenant, "--to", folder).record
    assert first["fetched"] == first["parts"] > 10
    assert again["fetched"] == 0
    fetched_for_a_person(tenantctl, tenant, folder)
    assert (folder / "events.jsonl").read_bytes().startswith(b'{"position":')

    assert tenantctl.json("tenants", "cancel-termination", tenant, "--wait").code == 0
    now = ("--confirm-subdomain", label, "--retain-days", "0", "--wait")
    gone = tenantctl.json("tenants", "terminate", tenant, *now)
    assert gone.lines[1]["status"] == "succeeded"
    late = tenantctl.json("tenants", "suspend", tenant, "--reason", "too late")
    assert (late.code, json.loads(late.err)["type"]) == (1, "/problems/tenant-gone")

    file = tmp_path / "certificate.json"
    shown = tenantctl.json("certificate", "show", tenant, "--to", file)
    assert shown.record["certificate"]["tenant_id"] == tenant
    assert "service.tenant_keys" in tenantctl("certificate", "show", tenant).out
    unwritable = tenantctl("certificate", "show", tenant, "--to", tmp_path / "none" / "file")
    assert (unwritable.code, "cannot be written" in unwritable.err) == (2, True)
    checked(tenantctl, file, tmp_path)


def fetched_for_a_person(tenantctl: CommandLine, tenant: str, folder: Path) -> None:
    """See that a part which is not as it was is fetched again, and why nothing can be fetched."""
    export = ("tenants", "export", tenant, "--to", folder)
    (folder / "events.jsonl").write_text("changed")
    assert "fetched  1" in " ".join(tenantctl(*export).out.split("\n"))
    stranger = tenantctl.json(*export, "--token", "none")
    assert (stranger.code, json.loads(stranger.err)["type"]) == (1, "/problems/unauthenticated")
    nowhere = tenantctl(*export, "--http", "http://127.0.0.1:1")
    assert (nowhere.code, "The HTTP edge could not be asked" in nowhere.err) == (3, True)


def preserved(tenantctl: CommandLine, tenant: str, operation_id: str) -> None:
    """Wait until the export is there."""
    end = time.monotonic() + PATIENCE
    while True:
        shown = tenantctl.json("operations", "show", tenant, operation_id).record
        if shown["steps"][1]["status"] == "completed":
            return
        assert time.monotonic() < end, shown


def checked(tenantctl: CommandLine, file: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    with edge(tenantctl, role="operator") as operator:
        keys.write_bytes(
            operator.get(f"{operator.base_url.copy_with(path='/.well-known/jwks.json')}").content
        )
    nowhere = tmp_path / "nowhere"
    assert tenantctl("certificate", "verify", file).out.startswith("Valid: signed by the key ")
    unread = tenantctl("certificate", "verify", nowhere)
    assert (unread.code, "cannot be read" in unread.err) == (2, True)
    assert tenantctl("certificate", "verify", file, "--key", nowhere).code == 2
    for key in ((), ("--key", keys)):
        valid = tenantctl.json("certificate", "verify", file, *key)
        assert (valid.code, valid.record["valid"]) == (0, True), valid.err
    assert tenantctl("certificate", "verify", file, "--key", keys, data_dir=nowhere).code == 0
    assert tenantctl("certificate", "verify", file, data_dir=nowhere).code == 2
    file.write_bytes(file.read_bytes().replace(b'"verified":true', b'"verified":fals', 1))
    changed = tenantctl("certificate", "verify", file)
    assert (changed.code, changed.err) == (1, "The file is not a certificate of deletion.\n")
    assert tenantctl.json("certificate", "verify", file).record["valid"] is False


def test_tokens_of_a_suspended_tenant_are_refused_but_its_heads_see_where_it_stands(tenantctl: CommandLine):
    tenant = provisioned(tenantctl)["tenant_id"]
    callers = {role: edge(tenantctl, role=role, tenant=tenant) for role in ("owner", "member")}
    assert callers["member"].get(f"/{tenant}").status_code == 200
    operator = callers["operator"] = edge(tenantctl, role="operator")
    suspended = operator.post(f"/{tenant}/suspend", json={"reason": "unpaid"})
    assert suspended.status_code == 202
    assert tenantctl.json("operations", "show", tenant, suspended.json()["operation_id"], "--wait").code == 0
    answers = {
        ("member", "GET", ""): 403,
        ("member", "GET", "/history"): 403,
        ("owner", "GET", ""): 200,
        ("owner", "GET", "/operations"): 200,
        ("owner", "GET", "/history"): 403,
        ("owner", "POST", "/resume"): 403,
        ("owner", "GET", "/export"): 404,
        ("member", "GET", "/export/manifest.json"): 403,
    }
    for (role, method, path), status in answers.items():
        answer = callers[role].request(method, f"/{tenant}{path}")
        assert answer.status_code == status, (role, method, path, answer.text)
    assert operator.post(f"/{tenant}/resume").status_code == 202
    for caller in callers.values():
        caller.close()


def test_http_ends_a_tenant_by_body_or_parameters(tenantctl: CommandLine):
    operator = edge(tenantctl, role="operator")
    for given in ("body", "parameters"):
        made = provisioned(tenantctl)
        tenant = made["tenant_id"]
        fields = {"confirm_subdomain": made["subdomain"], "retain_days": 0}
        how: dict[str, Any] = {"json": fields} if given == "body" else {"params": fields}
        answer = operator.request("DELETE", f"/{tenant}", **how)
        assert answer.status_code == 202
        assert tenantctl.json("operations", "show", tenant, answer.json()["operation_id"], "--wait").code == 0
        assert operator.get(f"/{tenant}").json()["type"] == "/problems/tenant-gone"
        assert operator.get(f"/{tenant}/certificate").json()["document"]["certificate"]["tenant_id"] == tenant
        assert operator.post(f"/{tenant}/suspend", json={"reason": "x"}).status_code == 410
    operator.close()

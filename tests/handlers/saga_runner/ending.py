"""A tenant with something of everything, and its end: asked for, waited for, looked at."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode
from typing import Any
from uuid import UUID

import obstore
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from handlers.adapters.schemas import schema_of
from tenant_domain.tenant.commands import Terminate
from tests.handlers.saga_runner.house import CERTIFICATE_KEY, House

ROWS = 4500
"""More than are read at a time."""


async def living(house: House, **changes: Any) -> UUID:
    """Return a tenant with rows, a file, and whatever SQL finds hard to write down."""
    tenant_id, operation_id = await house.provision(**changes)
    await house.finished(operation_id)
    schema = schema_of(tenant_id)
    await house.sql(
        f"INSERT INTO {schema}.audit (at, actor, action, detail) SELECT now() - n * interval '1 s', 'ada',"
        f" 'it''s \\ \"done\" ' || n, jsonb_build_object('n', n, 'text', E'a\\nb')"
        f" FROM generate_series(1, {ROWS}) n"
    )
    await house.sql(
        f"INSERT INTO {schema}.files VALUES ('a b/ü.txt', 3, 'text/plain', '\\x00ff27', NULL, 'infinity')"
    )
    await obstore.put_async(house.buckets.open(tenant_id), "a b/ü.txt", b"abc")
    return tenant_id


async def terminate(house: House, tenant_id: UUID, retain_days: int = 0) -> UUID:
    tenant = await house.tenant(tenant_id)
    command = Terminate(confirm_subdomain=tenant.subdomain, retain_days=retain_days)
    operation_id = await house.ask(tenant_id, command)
    assert operation_id is not None
    return operation_id


async def preserved(house: House, operation_id: UUID) -> None:
    """Wait until the run waits for the day of the purge."""
    operation = await house.until(
        operation_id, lambda state: bool(state.step("cleanup").due_at or state.parked_reason)
    )
    assert operation.parked_reason is None


async def state_of(house: House, tenant_id: UUID) -> dict[str, Any]:
    """Return all that a cancellation has to bring back: rows, catalogue, role, objects, the tenant itself."""
    schema = schema_of(tenant_id)
    catalogue = await house.sql(
        "SELECT c.relname, c.relacl::text, a.attname, a.atttypid::regtype::text, a.attnotnull FROM pg_class c"
        " LEFT JOIN pg_attribute a ON a.attrelid = c.oid WHERE c.relnamespace = %s::regnamespace"
        " ORDER BY 1, 3",
        schema,
    )
    tables = [
        row[0] for row in await house.sql("SELECT tablename FROM pg_tables WHERE schemaname = %s", schema)
    ]
    rows = {
        table: await house.sql(
            f"SELECT md5(string_agg(t::text, '' ORDER BY t::text)) FROM {schema}.{table} t"
        )
        for table in tables
    }
    role = await house.sql("SELECT rolcanlogin, rolconnlimit FROM pg_roles WHERE rolname = %s", schema)
    folder = house.objects / f"t-{tenant_id.hex}"
    files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    tenant = await house.tenant(tenant_id)
    return {"catalogue": catalogue, "rows": rows, "role": role, "files": files, "tenant": tenant}


async def fetched(house: House, tenant_id: UUID, path: str) -> bytes:
    _, chunks = await house.shelf.fetch(tenant_id, path)
    return b"".join([chunk async for chunk in chunks])


async def certificate(house: House, tenant_id: UUID) -> bytes:
    ((document,),) = await house.sql(
        "SELECT document FROM service.certificates WHERE tenant_id = %s", tenant_id
    )
    return document


def check_by_hand(document: bytes) -> None:
    """Check a certificate with nothing but JSON and Ed25519, as somebody else would."""
    parts = json.loads(document)
    content = json.dumps(parts["certificate"], sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    public = Ed25519PublicKey.from_public_bytes(urlsafe_b64decode(CERTIFICATE_KEY.jwk()["x"] + "="))
    public.verify(urlsafe_b64decode(parts["signature"] + "=="), content.encode())

"""What a termination leaves is its own tenant's: its receipt of the export, its certificate."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest

from tenant_domain.refusals import NotFound
from tests.support.readside import ReadSide

_EXPORT = """
INSERT INTO service.exports (operation_id, tenant_id, parts, size, manifest_sha256, written_at)
VALUES (%s, %s, 3, 100, %s, clock_timestamp())"""
_CERTIFICATE = """
INSERT INTO service.certificates (operation_id, tenant_id, certificate_id, document, sha256, issued_at)
VALUES (%s, %s, %s, %s, %s, clock_timestamp())"""


async def two_tenants(side: ReadSide) -> tuple[UUID, UUID]:
    tenants = side.history.tenant(), side.history.tenant("Other", subdomain="other")
    await side.project()
    return tenants


async def test_each_tenant_sees_the_receipt_of_its_own_export(side: ReadSide) -> None:
    one, other = await two_tenants(side)
    await side.execute(_EXPORT, uuid4(), one, "of the one")
    with pytest.raises(NotFound):
        await side.ask(other, "export")
    await side.execute(_EXPORT, uuid4(), other, "of the other")
    for tenant, manifest in ((one, "of the one"), (other, "of the other")):
        found = await side.ask(tenant, "export")
        assert (found["manifest_sha256"], str(tenant) in found["href"]) == (manifest, True)


async def test_each_tenant_sees_its_own_certificate(side: ReadSide) -> None:
    one, other = await two_tenants(side)
    await side.execute(_CERTIFICATE, uuid4(), one, uuid4(), b'{"of": "one"}', "a" * 64)
    with pytest.raises(NotFound):
        await side.ask(other, "certificate")
    await side.execute(_CERTIFICATE, uuid4(), other, uuid4(), b'{"of": "other"}', "b" * 64)
    for tenant, of in ((one, "one"), (other, "other")):
        assert (await side.ask(tenant, "certificate"))["document"] == {"of": of}

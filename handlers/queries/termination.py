"""Questions about what a termination leaves: its rows are read together with the log's end."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import msgspec

from handlers.queries.reading import Read, closed
from handlers.store.connections import Connections
from projections.termination import (
    CertificateView,
    ExportView,
    GetCertificate,
    GetExport,
    HandedOver,
    no_export,
)
from tenant_domain.refusals import NotFound

_EXPORT = b"""
SELECT h.position, e.* FROM service.event_head h LEFT JOIN (
    SELECT x.operation_id, x.manifest_sha256, x.parts, x.size, x.written_at, x.handed_over,
        (SELECT CASE WHEN bool_and(p.fetched_at IS NOT NULL) THEN max(p.fetched_at) END
         FROM service.export_parts p WHERE p.operation_id = x.operation_id)
    FROM service.exports x WHERE x.tenant_id = %s AND x.manifest_sha256 IS NOT NULL
    ORDER BY x.written_at DESC LIMIT 1
) e ON true"""

_CERTIFICATE = b"""
SELECT h.position, c.certificate_id, c.sha256, c.document FROM service.event_head h
LEFT JOIN service.certificates c ON c.tenant_id = %s"""

_encode = msgspec.json.Encoder().encode


async def export(connections: Connections, tenant_id: UUID | None, _: GetExport) -> Read:
    """Read what is known of the tenant's export."""
    ((head, *row),) = await connections.fetch(_EXPORT, (tenant_id,))

    def answer() -> bytes:
        if row[0] is None:
            raise no_export(tenant_id)
        operation_id, manifest, parts, size, written_at, handed_over, fetched_at = row
        view = ExportView(
            operation_id=operation_id,
            href=f"/api/v1/tenants/{tenant_id}/export/manifest.json",
            manifest_sha256=manifest,
            parts=parts,
            size=size,
            written_at=written_at,
            handed_over=msgspec.convert(handed_over, list[HandedOver]),
            fetched_at=fetched_at,
        )
        return closed(_encode(view), head)

    return Read(head, answer, nothing=row[0] is None)


async def certificate(connections: Connections, tenant_id: UUID | None, _: GetCertificate) -> Read:
    """Read the tenant's certificate."""
    ((head, certificate_id, sha256, document),) = await connections.fetch(_CERTIFICATE, (tenant_id,))

    def answer() -> bytes:
        if document is None:
            raise NotFound(
                f"The tenant {tenant_id} has no certificate: it gets one when its data is destroyed."
            )
        signed: dict[str, Any] = msgspec.json.decode(document)
        view = CertificateView(certificate_id=certificate_id, sha256=sha256, document=signed)
        return closed(_encode(view), head)

    return Read(head, answer, nothing=document is None)

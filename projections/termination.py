"""What a termination leaves to ask for: the export of a tenant, and the certificate of its deletion."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from projections.forms import Query
from projections.questions import BY_HEADS_ALWAYS, LogQuestion
from tenant_domain.refusals import NotFound


class HandedOver(msgspec.Struct, frozen=True, kw_only=True):
    """When the tenant was told of its export, and how."""

    channel: str
    at: datetime


class ExportView(msgspec.Struct, frozen=True, kw_only=True):
    """An export that can be fetched: `href` is its manifest over HTTP, which names all its parts."""

    operation_id: UUID
    href: str
    manifest_sha256: str
    parts: int
    size: int
    written_at: datetime
    handed_over: list[HandedOver]
    fetched_at: datetime | None


class CertificateView(msgspec.Struct, frozen=True, kw_only=True):
    """A certificate: `document` is what was signed, `sha256` that of its canonical form."""

    certificate_id: UUID
    sha256: str
    document: dict[str, Any]


def no_export(tenant_id: UUID | None) -> NotFound:
    """Return the refusal of an export that is not there."""
    return NotFound(
        f"The tenant {tenant_id} has no export: that is written at its termination, and goes too."
    )


class GetExport(Query):
    """The export of the tenant's data, before it is deleted."""


class GetCertificate(Query):
    """The certificate of the tenant's deletion; there is one once the tenant is gone."""


EXPORT = LogQuestion(name="export", fleet=False, form=GetExport, access=BY_HEADS_ALWAYS, item=ExportView)
CERTIFICATE = LogQuestion(
    name="certificate", fleet=False, form=GetCertificate, access=BY_HEADS_ALWAYS, item=CertificateView
)

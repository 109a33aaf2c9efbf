"""Deletion: what is a tenant's goes, then what is kept of it, and a certificate says so.

All of it may be done again after a crash. The export's rows go last, in the transaction that keeps the
certificate: so the certificate tells of the hand-over whenever it is made.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID, uuid5

import msgspec

from handlers.adapters.certificates import CertificateKey, sha256_of
from handlers.adapters.consumers import TenantConsumers
from handlers.adapters.effects import EffectFailed, Output, Work
from handlers.adapters.emptying import empty, large_objects_of
from handlers.adapters.erasure import Erased
from handlers.adapters.exports.shelf import Receipt, Shelf, count_objects
from handlers.adapters.objects import Buckets
from handlers.adapters.roles import schema_of
from handlers.adapters.schemas import Connect
from handlers.adapters.sweep import NOT_COVERED, OPERATORS, StoreErased


class Eraser(Protocol):
    """Destroys what the service keeps of a tenant, its data key first of all."""

    async def erase(self, tenant_id: UUID) -> Erased:
        """Destroy it, and look again; once more changes nothing."""
        ...


class Deletion:
    """Destroys what there is of a tenant. `issuer` is who vouches for it in the certificate."""

    def __init__(
        self,
        *,
        connect: Connect,
        buckets: Buckets,
        shelf: Shelf,
        consumers: TenantConsumers,
        eraser: Eraser,
        key: CertificateKey,
        issuer: str,
        now: Callable[[], datetime],
    ) -> None:
        self._connect, self._buckets, self._shelf, self._consumers = connect, buckets, shelf, consumers
        self._eraser, self._key, self._issuer, self._now = eraser, key, issuer, now

    async def remove_belongings(self, work: Work) -> Output:
        """Remove the tenant's bucket, its consumers, its live context, and what its schema has too much of.

        Says how much there was; the schema itself goes with what is recorded of the step.
        """
        async with self._connect() as connection:
            held = await empty(connection, work.tenant_id)
            left = await large_objects_of(connection, work.tenant_id)
        objects = await count_objects(self._buckets, work.tenant_id)
        await self._buckets.remove(work.tenant_id)
        return {
            "objects": objects,
            "bucket_gone": not await self._buckets.exists(work.tenant_id),
            "consumers": await self._consumers.remove(work.tenant_id),
            "consumers_gone": not await self._consumers.of(work.tenant_id),
            "context_keys": await self._consumers.clear_context(work.tenant_id),
            "context_gone": not await self._consumers.has_context(work.tenant_id),
            **held,
            "large_objects_gone": left == 0,
        }

    async def delete_securely(self, work: Work) -> Output:
        """Destroy what is kept of the tenant, its export too, and issue the certificate."""
        issued = await self._issued(work.operation.operation_id)
        if issued is None:
            receipt = await self._shelf.receipt(work.operation.operation_id)
            erased = await self._eraser.erase(work.tenant_id)
            await self._shelf.remove(work.tenant_id)
            export = _export_store(receipt, gone=await self._shelf.gone(work.tenant_id))
            stores = [*_belongings(work), *erased.stores, export]
            _require_verified(stores)
            issued = await self._issue(work, erased.key_ids, stores, receipt)
        return issued

    async def _issue(
        self, work: Work, key_ids: list[str], stores: list[StoreErased], receipt: Receipt | None
    ) -> Output:
        """Keep the certificate, and forget the export's rows; returns its id and hash."""
        at, certificate_id = self._now(), uuid5(work.operation.operation_id, "certificate")
        document = self._key.signed(
            {
                "version": 1,
                "certificate_id": str(certificate_id),
                "issuer": self._issuer,
                "issued_at": at.isoformat(),
                "tenant_id": str(work.tenant_id),
                "operation_id": str(work.operation.operation_id),
                **_times(work),
                "destroyed_keys": key_ids,
                "stores": msgspec.to_builtins(stores),
                "not_covered": list(NOT_COVERED),
                "export": None if receipt is None else _told(receipt),
            }
        )
        values = (
            work.operation.operation_id,
            work.tenant_id,
            certificate_id,
            document,
            sha256_of(document),
            at,
        )
        async with self._connect() as connection, connection.transaction():
            await connection.execute(_KEEP, values)
            await connection.execute("DELETE FROM service.exports WHERE tenant_id = %s", (work.tenant_id,))
        issued = await self._issued(work.operation.operation_id)
        assert issued is not None
        return issued

    async def _issued(self, operation_id: UUID) -> Output | None:
        async with self._connect() as connection:
            row = await (await connection.execute(_FIND, (operation_id,))).fetchone()
        return None if row is None else {"certificate_id": str(row[0]), "certificate_sha256": row[1]}


_KEEP = """
INSERT INTO service.certificates (operation_id, tenant_id, certificate_id, document, sha256, issued_at)
VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING"""

_FIND = "SELECT certificate_id, sha256 FROM service.certificates WHERE operation_id = %s"


def _belongings(work: Work) -> list[StoreErased]:
    """Return what the step before this one destroyed, and saw to be gone."""
    found = work.operation.step("cleanup").output
    name = schema_of(work.tenant_id)
    dropped = f"tables of the schema {name}, and its role"
    rows = (
        ("postgresql", dropped, "tables", "dropped", "schema_gone"),
        ("pg_largeobject", "large objects of its role", "large_objects", "unlinked", "large_objects_gone"),
        ("objects", "objects of the tenant's bucket", "objects", "deleted with the bucket", "bucket_gone"),
        ("jetstream", "durable consumers of the tenant's events", "consumers", "deleted", "consumers_gone"),
        ("jetstream", "entries of the live context", "context_keys", "purged", "context_gone"),
    )
    return [
        StoreErased(store=store, what=what, count=found[count], how=how, verified=found[gone])
        for store, what, count, how, gone in rows
        if gone in found  # an older version may have done that step
    ]


def _export_store(receipt: Receipt | None, *, gone: bool) -> StoreErased:
    parts = 0 if receipt is None else receipt.parts
    return StoreErased(
        store="objects", what="parts of the export", count=parts, how="deleted with the bucket", verified=gone
    )


def _require_verified(stores: list[StoreErased]) -> None:
    """Raise EffectFailed where a second look found something: then there is nothing to certify.

    What is the server's own is up to its operator: where it may not be cleared, the
    certificate says just that.
    """
    left = [
        f"{store.what} ({store.store})"
        for store in stores
        if not store.verified and store.store not in OPERATORS
    ]
    if left:
        raise EffectFailed(f"A second look found what should be gone: {', '.join(left)}.")


def _times(work: Work) -> dict[str, str | None]:
    started = work.operation.step("cleanup").started_at
    return {
        "terminated_at": work.operation.started_at.isoformat(),
        "purge_started_at": None if started is None else started.isoformat(),
    }


def _told(receipt: Receipt) -> dict[str, Any]:
    return {
        "manifest_sha256": receipt.manifest_sha256,
        "parts": receipt.parts,
        "size": receipt.size,
        "written_at": receipt.written_at.isoformat(),
        "handed_over": receipt.handed_over,
        "fetched_at": None if receipt.fetched_at is None else receipt.fetched_at.isoformat(),
    }

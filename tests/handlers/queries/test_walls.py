"""An answer opens what its own tenant's keys have sealed, and nothing of another tenant."""

from __future__ import annotations

from uuid import UUID

import msgspec

from handlers.store.batch import Batch, KeyRow
from tenant_domain.tenant.events import ProfileUpdated
from tests.support.keys import keyring_of
from tests.support.readside import ReadSide

SECRET = "of the other tenant"


async def sealed_by(side: ReadSide, tenant: UUID) -> str:
    """Return a secret of the tenant as its key seals it; the key is stored."""
    keys = (await keyring_of(side.store).prepare([tenant]))[tenant]
    assert keys.wrapped is not None
    await side.store.append(Batch(keys=[KeyRow(tenant, keys.current.id, keys.wrapped, 0)]))
    return str(keys.current.token(SECRET))


async def test_what_another_tenants_key_has_sealed_stays_shut(side: ReadSide) -> None:
    one, other = side.history.tenant(), side.history.tenant("Other", subdomain="other")
    sealed = await sealed_by(side, other)
    for tenant in (one, other):
        side.history.add(tenant, tenant, ProfileUpdated(tenant_name=sealed))
    await side.project()
    assert SECRET in msgspec.json.encode(await side.ask(other, "history")).decode()
    for query in ("history", "tenant"):
        assert SECRET not in msgspec.json.encode(await side.ask(one, query)).decode()

"""What buckets are called: `t-<tenant id in hex>`, or `x-…`, after a prefix where there is one."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal, TypeAlias
from uuid import UUID

Kind: TypeAlias = Literal["t", "x"]
"""What begins a bucket's name: `t` is a tenant's own, `x` holds the export of one."""

_NOBODY = UUID(int=0)


def bucket_name(prefix: str, kind: Kind, tenant_id: UUID) -> str:
    """Return what the tenant's bucket is called."""
    return f"{prefix}-{kind}-{tenant_id.hex}" if prefix else f"{kind}-{tenant_id.hex}"


def owners(prefix: str, kind: Kind, names: Iterable[str]) -> list[UUID]:
    """Return the tenants whose buckets are among these names."""
    head = bucket_name(prefix, kind, _NOBODY).removesuffix(_NOBODY.hex)
    named = (re.fullmatch(re.escape(head) + "([0-9a-f]{32})", name) for name in names)
    return [UUID(found[1]) for found in named if found]

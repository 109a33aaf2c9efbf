"""What is decided has to be carried: by a message for each event, for the outcome, for the tenant's answer.

It is looked at before anything is written, as what will be stored and sent: sealed, with its headers.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from handlers.execution.decode import Request
from handlers.wire.sizes import AROUND, published
from tenant_domain.refusals import InvalidCommand
from tenant_domain.tenant.state import Tenant

DEFAULT_LARGEST = 1024 * 1024
"""Bytes of a message that a NATS server takes where nobody told it otherwise."""

_SMALL = 2048
"""Bytes of an event that is not looked at more closely. It cannot make a tenant's answer too large: that has
a quarter less opened than sealed."""

_ROOMY = 8 * _SMALL
"""Bytes of a message from which on small events always fit."""

_encode = msgspec.json.Encoder().encode


def require_room(
    request: Request, bodies: Iterable[bytes], tenant: Tenant | None, outcome: bytes, largest: int
) -> None:
    """Refuse a command whose events (stored `bodies`), outcome or tenant would not fit into a message.

    `tenant` is its state behind those events, `largest` the bytes of a message. Raises InvalidCommand naming
    the largest field.
    """
    large = [body for body in bodies if len(body) > _SMALL or largest < _ROOMY]
    if not large and len(outcome) <= _SMALL:
        return
    sizes = [len(outcome) + AROUND, *(published(body, request.meta) for body in large)]
    if large and tenant is not None:
        sizes.append(len(_encode(tenant)) + AROUND)
    if max(sizes) > largest:
        detail = f"is too large: stored and sent it makes {max(sizes)} bytes, and the servers carry {largest}"
        raise InvalidCommand.of(_largest_field(request), detail)


def _largest_field(request: Request) -> str:
    fields = request.form.model_dump(mode="json", exclude_unset=True)
    return max(fields, key=lambda name: len(_encode(fields[name])), default="body")

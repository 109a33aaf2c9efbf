"""The client: all that another service needs to talk to the tenant service.

It imports nats-py, msgspec and pydantic, the domain's forms and `handlers.wire`, and nothing of the server.

    async with TenantClient.connect("nats://127.0.0.1:4222") as tenants:
        outcome = await tenants.provision(
            name="Acme", subdomain="acme", admin={"email": "ada@acme.example", "name": "Ada Lovelace"}
        )
        operation = await outcome.operation(timeout=60)
        print(operation.status, await tenants.tenant(outcome.tenant_id))
"""

from handlers.client.answers import Controlled, Fact, Next, Operation, Step, Tenant
from handlers.client.client import TenantClient
from handlers.client.errors import (
    ClientClosed,
    EventsReplaced,
    InvalidArgument,
    NoAnswer,
    NotAccepted,
    PositionsGone,
)
from handlers.client.outcome import Outcome
from handlers.client.received import ReceivedEvent
from handlers.client.requests import Request
from handlers.client.sending import Sent

__all__ = [
    "ClientClosed",
    "Controlled",
    "EventsReplaced",
    "Fact",
    "InvalidArgument",
    "Next",
    "NoAnswer",
    "NotAccepted",
    "Operation",
    "Outcome",
    "PositionsGone",
    "ReceivedEvent",
    "Request",
    "Sent",
    "Step",
    "Tenant",
    "TenantClient",
]

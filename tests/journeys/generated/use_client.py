"""A program over the client that `openapi-python-client` makes: it provisions a tenant, and reads it."""

import os
import sys
import time
from uuid import uuid4

from tenant_api.api.commands import provision, update_profile
from tenant_api.api.queries import operation, tenant
from tenant_api.client import AuthenticatedClient
from tenant_api.models.admin import Admin
from tenant_api.models.new_tenant import NewTenant
from tenant_api.models.operation_answer import OperationAnswer
from tenant_api.models.outcome import Outcome
from tenant_api.models.problem import Problem
from tenant_api.models.tenant_answer import TenantAnswer
from tenant_api.models.update_profile import UpdateProfile

PATIENCE = 60
"""Seconds that a provisioning may take here."""


def main() -> None:
    client = AuthenticatedClient(base_url=os.environ["HTTP_URL"], token=os.environ["TOKEN"])
    chosen = uuid4()
    new = NewTenant(
        name="Generated",
        subdomain=sys.argv[1],
        admin=Admin(email="ada@generated.example", name="Ada"),
        tenant_id=chosen,
    )
    made = provision.sync_detailed(client=client, body=new, idempotency_key=str(uuid4()))
    assert isinstance(made.parsed, Outcome), made.content
    assert made.parsed.tenant_id == chosen
    assert made.headers["location"].endswith(str(made.parsed.operation_id))
    end = time.monotonic() + PATIENCE
    while True:
        assert made.parsed.operation_id is not None
        run = operation.sync(chosen, made.parsed.operation_id, client=client)
        assert isinstance(run, OperationAnswer), run
        if run.status.value == "succeeded":
            break
        assert time.monotonic() < end, run
        time.sleep(0.05)
    read = tenant.sync_detailed(chosen, client=client)
    assert isinstance(read.parsed, TenantAnswer), read.content
    assert (read.parsed.name, read.parsed.status.value) == ("Generated", "active")
    changed = update_profile.sync(
        chosen, client=client, body=UpdateProfile(name="Changed"), if_match=read.headers["etag"]
    )
    assert isinstance(changed, Outcome), changed
    refused = tenant.sync(uuid4(), client=client)
    assert isinstance(refused, Problem)
    assert refused.type_.value == "/problems/tenant-not-found"
    print(chosen)


main()

"""The table of effects: the names that sagas use, and what does them."""

from __future__ import annotations

from functools import partial

from handlers.adapters.access import Access
from handlers.adapters.deletion import Deletion
from handlers.adapters.effects import Effect, Effects, Output, Work
from handlers.adapters.exports.preservation import Preservation
from handlers.adapters.keyring import Keyring
from handlers.adapters.keys import MasterKey
from handlers.adapters.notices import Notices
from handlers.adapters.objects import Buckets, Owner
from handlers.adapters.plans import Plans
from handlers.adapters.schemas import (
    CONNECTIONS,
    STEP,
    create_schema,
    drop_schema,
    purge_schema,
    write_admin,
    write_defaults,
)


def effects(
    key: MasterKey,
    keyring: Keyring,
    access: Access,
    buckets: Buckets,
    notices: Notices,
    preservation: Preservation,
    deletion: Deletion,
    plans: Plans,
    connections: int = CONNECTIONS,
) -> Effects:
    """Return all effects that the sagas name; a tenant's role gets so many `connections` at most."""
    opened = partial(_opened, keyring)
    return {
        "create_bucket": partial(_create_bucket, buckets),
        "remove_bucket": partial(_remove_bucket, buckets),
        "create_schema": partial(create_schema, key=key, connections=connections),
        "drop_schema": drop_schema,
        "write_defaults": opened(write_defaults),
        "write_admin": opened(write_admin),
        "send_ready_notice": opened(notices.ready),
        "close_access": access.close,
        "open_access": access.open,
        "check_plan_fits": plans.check,
        "keep_backup": plans.keep,
        "drop_backup": plans.drop,
        "release_backup": plans.release,
        "apply_plan": opened(plans.apply),
        "restore_backup": opened(plans.restore),
        "verify_plan": opened(plans.verify),
        "withdraw_access": access.withdraw,
        "restore_access": access.restore,
        "preserve_data": opened(preservation.preserve),
        "drop_export": preservation.drop,
        "remove_belongings": deletion.remove_belongings,
        "purge_schema": purge_schema,
        "delete_securely": deletion.delete_securely,
    }


def _opened(keyring: Keyring, effect: Effect) -> Effect:
    """Let an effect see the tenant's personal fields, which its state holds sealed."""

    async def act(work: Work) -> Output | None:
        return await effect(work._replace(tenant=await keyring.opened(work.tenant_id, work.tenant)))

    return act


async def _create_bucket(buckets: Buckets, work: Work) -> None:
    await buckets.claim(work.tenant_id, _owner(work))


async def _remove_bucket(buckets: Buckets, work: Work) -> None:
    await buckets.release(work.tenant_id, _owner(work))


def _owner(work: Work) -> Owner:
    operation = work.operation
    return Owner(operation.operation_id, operation.started_at, made=bool(operation.step(STEP).output))

"""The table of effects: the names that sagas use, and what does them."""

from __future__ import annotations

from functools import partial

from handlers.adapters.effects import Effects, Output, Work
from handlers.adapters.keys import MasterKey
from handlers.adapters.notices import Notices
from handlers.adapters.objects import Buckets
from handlers.adapters.plans import Plans
from handlers.adapters.schemas import Access, create_schema, drop_schema, write_admin, write_defaults


def effects(key: MasterKey, access: Access, buckets: Buckets, notices: Notices, plans: Plans) -> Effects:
    """Return all effects that the sagas name."""

    async def create_bucket(work: Work) -> Output:
        await buckets.create(work.tenant_id)
        return {}

    async def remove_bucket(work: Work) -> None:
        await buckets.remove(work.tenant_id)

    return {
        "create_bucket": create_bucket,
        "remove_bucket": remove_bucket,
        "create_schema": partial(create_schema, key=key),
        "drop_schema": drop_schema,
        "write_defaults": write_defaults,
        "write_admin": write_admin,
        "send_ready_notice": notices.ready,
        "close_access": access.close,
        "open_access": access.open,
        "check_plan_fits": plans.check,
        "keep_backup": plans.keep,
        "drop_backup": plans.drop,
        "release_backup": plans.release,
        "apply_plan": plans.apply,
        "restore_backup": plans.restore,
        "verify_plan": plans.verify,
    }

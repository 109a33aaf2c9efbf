"""Ours: an upgrade whose verification finds a difference, so that all of it is undone, last step first."""

from __future__ import annotations

from functools import partial

from handlers.adapters.effects import Effects, Output, Work
from sagas.definition import Deed, Saga, Step
from sagas.upgrade import UPGRADE
from tests.benchmarks.peers.six_steps import INSERT

_UNDO = {"backup_state": "drop_backup", "apply_changes": "restore_backup"}
"""What undoes a step, for those that have something to undo."""


def turned_back() -> Saga:
    """Return the upgrade with one insert for each step, and for each that is undone."""
    return UPGRADE._replace(steps=tuple(map(_step, UPGRADE.steps)))


def _step(original: Step) -> Step:
    last = original is UPGRADE.steps[-1]  # it only records that the run turns back
    inside = None if last else Deed(original.name, undo=_UNDO.get(original.name))
    return original._replace(outside=None, inside=inside, heavy=False, blind=True)


def effects() -> Effects:
    """Return what the steps do, and what undoes them."""
    names = [*(step.name for step in UPGRADE.steps[:-1]), *_UNDO.values()]
    return {name: partial(_insert, number=number, name=name) for number, name in enumerate(names)}


async def _insert(work: Work, number: int, name: str) -> Output:
    await work.transaction.execute(INSERT, (str(work.operation.operation_id), number, name))
    return {"differences": ["quotas.users is 5, not 50"]} if name == "verify" else {}

"""Aggregates: what each declares of itself, once, in the file `aggregate.py` of its folder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple
from uuid import UUID

from tenant_domain.authorisation import Access
from tenant_domain.decision import Command, Context, Decision, Event, Ref, Upcaster, World


def no_streams(_tenant_id: UUID, _command: Any, _tenant: Any) -> Iterable[Ref]:
    """Read no stream besides the tenant's."""
    return ()


def never(_command: Any) -> bool:
    """Say that a command has nothing to do with personal fields."""
    return False


def always(_command: Any) -> bool:
    """Say that a command has to do with personal fields, whatever it brings."""
    return True


class CommandSpec(NamedTuple):
    """A command: its form, an example, who may ask for it, the decision, the other streams that it reads.

    `streams` is called with the tenant's state, as far as it is known. `personal` says whether the command
    has to do with personal fields: its facts have them sealed, its decision sees those of the tenant opened.
    """

    form: type[Command]
    example: Command
    access: Access
    decide: Callable[[Any, World, Context], Decision]
    streams: Callable[[UUID, Any, Any], Iterable[Ref]] = no_streams
    personal: Callable[[Any], bool] = never


class Aggregate(NamedTuple):
    """An aggregate: its name, its state, how an event changes it, its events with examples, its commands.

    `upcasters` maps (stored name, from version) to the function that leads to the next version.
    """

    name: str
    state: type[Any]
    evolve: Callable[[Any, Event], Any]
    events: tuple[type[Event], ...]
    examples: tuple[Event, ...]
    upcasters: Mapping[tuple[str, int], Upcaster] = {}
    commands: tuple[CommandSpec, ...] = ()

"""Decisions: what every aggregate's `decide` takes from outside and gives back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, ClassVar, NamedTuple, TypeVar
from uuid import UUID

import msgspec
from pydantic import BaseModel, ConfigDict

from tenant_domain.authorisation import Authority
from tenant_domain.catalogue import Policy

State = TypeVar("State")

Upcaster = Callable[[dict[str, Any]], dict[str, Any]]
"""Brings the fields of a stored event from one version to the next."""


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """A fact. `name` is what it is stored and published as, `schema` the version of its fields.

    A field of another version is brought up to date by the upcasters that stand beside the event
    (`UPCASTERS` in the same file), never by a change of its meaning.
    """

    name: ClassVar[str]
    schema: ClassVar[int] = 1


class Unfolded(Exception):
    """An event came to an aggregate that does not say what it changes: a defect of the aggregate."""

    def __init__(self, event: Event) -> None:
        super().__init__(f"{event.name} has no fold")


class Command(BaseModel):
    """A wish. `name_` is the last token of its subject; its fields are the JSON body, strictly."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    name_: ClassVar[str]


class Ref(NamedTuple):
    """A stream that a decision reads: which entity it is of, and its id."""

    entity: str
    stream: UUID


class NewEvent(NamedTuple):
    """A fact decided on, and the stream it belongs to."""

    ref: Ref
    event: Event


class Decision(NamedTuple):
    """What follows from a command: facts in the order they hold, and what the caller is told.

    No events means that nothing changes, which is a completed command too. `operation_id` names
    the saga that goes on with it.
    """

    events: tuple[NewEvent, ...] = ()
    operation_id: UUID | None = None
    result: Mapping[str, Any] = {}


UNCHANGED = Decision(result={"changed": False})
"""The command asked for what holds already; its outcome says so."""


class Context(NamedTuple):
    """What a decision takes from outside: the tenant, the time, an id to use, who asked, the policy.

    `authority` is in whose name it was asked.
    """

    tenant_id: UUID
    now: datetime
    operation_id: UUID
    actor: str | None
    policy: Policy
    authority: Authority = Authority.SERVICE


class World:
    """The states that a decision may read, by stream; asking for one that was not loaded is a bug."""

    __slots__ = ("_states",)

    def __init__(self, states: Mapping[UUID, Any]) -> None:
        self._states = states

    def get(self, ref: Ref, expected: type[State]) -> State | None:
        """Return the state of `ref`, or None when its stream is empty."""
        state = self._states[ref.stream]
        assert state is None or isinstance(state, expected)
        return state

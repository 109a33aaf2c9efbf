"""Plans: all that happens in a schedule. Moments are steps, so each of them is at an await of a worker."""

from __future__ import annotations

from random import Random
from typing import NamedTuple

from tests.simulation.kinds import BEGINNINGS
from tests.simulation.world import HOWS, How


class Pause(NamedTuple):
    """The worker that is about to take the step `at` sleeps for `seconds`."""

    at: int
    seconds: float


class Outage(NamedTuple):
    """The database is away for `seconds`."""

    at: int
    seconds: float


class Failing(NamedTuple):
    """The `call`-th call of an effect fails."""

    call: int
    how: How


class Wish(NamedTuple):
    """Somebody asks for `command` for the `tenant`-th tenant."""

    at: int
    command: str
    tenant: int = 0


class Plan(NamedTuple):
    """What happens in a schedule. `runs` are beginnings, one for each tenant; `seed` decides on all order.

    A worker that dies (`crashes`) or stops (`restarts`) is followed by a new one. One that has slept does not
    die: it may have done a deed late, and then nobody is left who knows of it. `ambiguous` numbers the
    writes whose answer is lost. `slow` is the share of requests that take time on their way.
    """

    seed: int
    runs: tuple[str, ...]
    workers: int = 1
    crashes: tuple[int, ...] = ()
    restarts: tuple[int, ...] = ()
    pauses: tuple[Pause, ...] = ()
    outages: tuple[Outage, ...] = ()
    ambiguous: tuple[int, ...] = ()
    failing: tuple[Failing, ...] = ()
    wishes: tuple[Wish, ...] = ()
    slow: float = 0.0


OPERATORS = ("retry_operation", "cancel_operation", "compensate_operation")
_BEGINNINGS = tuple(BEGINNINGS)
WISHES = (*OPERATORS, "place_legal_hold", "release_legal_hold", "cancel_termination", "suspend", "resume")


def random_plan(seed: int) -> Plan:
    """Return a plan of trouble of all sorts; all of it follows from the seed."""
    random = Random(seed)
    tenants = random.choice((1, 1, 1, 2, 3))
    runs = tuple(random.choice(_BEGINNINGS) for _ in range(tenants))
    span = 130 * tenants

    def moments(*counts: int) -> list[int]:
        return [random.randrange(span) for _ in range(random.choice(counts))]

    pauses = tuple(Pause(at, random.choice((0.3, 1.3, 2.5))) for at in moments(0, 0, 1, 2))
    return Plan(
        seed,
        runs,
        workers=random.choice((1, 2, 2, 3)),
        crashes=tuple(moments(0, 1, 1, 2, 3)),
        restarts=tuple(moments(0, 0, 0, 1)),
        pauses=pauses,
        outages=tuple(Outage(at, random.choice((0.2, 1.0, 2.0))) for at in moments(0, 0, 0, 1, 2)),
        ambiguous=tuple(random.randrange(1, 12 * tenants) for _ in range(random.choice((0, 0, 1, 2)))),
        failing=tuple(
            Failing(random.randrange(1, 9 * tenants), random.choice(HOWS))
            for _ in range(random.choice((0, 1, 2, 4)))
        ),
        wishes=tuple(
            Wish(at, random.choice(WISHES), random.randrange(tenants)) for at in moments(0, 0, 1, 2, 4)
        ),
        slow=random.choice((0.0, 0.0, 0.1)),
    )

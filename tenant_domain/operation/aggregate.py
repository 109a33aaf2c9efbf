"""The aggregate `operation`: one run of a saga, whose events are its journal.

What an operator may ask of a run are commands to its tenant (`tenant/aggregate.py`): they have to fit it.
"""

from __future__ import annotations

from tenant_domain.aggregate import Aggregate
from tenant_domain.operation import examples
from tenant_domain.operation.events import EVENTS, UPCASTERS
from tenant_domain.operation.state import Operation, evolve

AGGREGATE = Aggregate(
    "operation", Operation, evolve, events=EVENTS, examples=examples.EVENTS, upcasters=UPCASTERS
)

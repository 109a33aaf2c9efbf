"""The tables from name to read model, and from name to query."""

from __future__ import annotations

from collections.abc import Mapping

from projections import history, operations, tenants, termination
from projections.questions import Question
from projections.read_model import ReadModel

READ_MODELS: Mapping[str, ReadModel] = {model.name: model for model in (tenants.MODEL, operations.MODEL)}

QUESTIONS: Mapping[tuple[bool, str], Question] = {
    (question.fleet, question.name): question
    for question in (
        tenants.TENANT,
        tenants.TENANTS,
        tenants.BY_SUBDOMAIN,
        tenants.AS_OF,
        operations.OPERATION,
        operations.OPERATIONS,
        operations.FLEET_OPERATIONS,
        history.OUTCOME,
        history.HISTORY,
        history.FLEET_HISTORY,
        termination.EXPORT,
        termination.CERTIFICATE,
    )
}
"""Every query by (over all tenants, name); a new one is declared beside its read model and named here."""

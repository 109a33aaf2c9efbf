"""What was asked: the tenant, the question and its form, from what came over a wire."""

from __future__ import annotations

from typing import Any, NamedTuple
from uuid import UUID

from pydantic import ValidationError

from handlers.wire.keys import RepeatedKey, check_keys
from handlers.wire.subjects import FLEET, is_tenant_id
from projections.forms import Query, invalid
from projections.questions import Question
from projections.registry import QUESTIONS
from tenant_domain.refusals import InvalidQuery, UnknownQuery, not_known

MAX_BODY = 64 * 1024
"""Bytes of a query's body: the largest sensible one is far smaller, and a larger one only costs time."""

_MAX_NAME = 100


class Asked(NamedTuple):
    """A query; `tenant_id` is None for one over all tenants."""

    tenant_id: UUID | None
    question: Question
    form: Any


def asked(tenant: str, query: str, body: bytes) -> Asked:
    """Return what was asked; `body` is a JSON object, or empty. Raises UnknownQuery and InvalidQuery."""
    fleet = tenant == FLEET
    tenant_id = None if fleet else _tenant_id(tenant)
    question = QUESTIONS.get((fleet, query))
    if question is None:
        scope = "query over all tenants" if fleet else "query about a tenant"
        raise UnknownQuery(
            not_known(scope, query, [name for over_all, name in QUESTIONS if over_all == fleet])
        )
    return Asked(tenant_id, question, _form(question.form, body))


def _tenant_id(token: str) -> UUID:
    if not is_tenant_id(token):
        raise invalid("tenant_id", "must be a lower-case hyphenated UUID")
    return UUID(token)


def _form(form: type[Query], body: bytes) -> Query:
    try:
        if len(body) > MAX_BODY:
            raise invalid("body", f"must have at most {MAX_BODY} bytes")
        found = form.model_validate_json(body or b"{}")
        check_keys(body or b"{}")
        return found
    except RepeatedKey as error:
        raise invalid(error.key[:_MAX_NAME], str(error)) from None
    except ValidationError as error:
        raise _refused(error) from None


def _refused(error: ValidationError) -> InvalidQuery:
    errors = [
        {
            "field": ".".join(map(str, each["loc"]))[:_MAX_NAME] or "body",
            "detail": each["msg"].removeprefix("Value error, "),
        }
        for each in error.errors(include_url=False, include_context=False, include_input=False)
    ]
    return InvalidQuery(
        "; ".join(f"{each['field']}: {each['detail']}" for each in errors[:5]), errors=errors[:50]
    )

"""The OpenAPI document and the forms behind it say the same: what either takes, the other takes."""

import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator, FormatChecker
from pydantic import BaseModel

from handlers.execution.body import canonical, validated
from handlers.execution.bulk import ControlOperations
from handlers.http_edge import bodies
from handlers.http_edge.openapi import openapi
from handlers.http_edge.openapi_components import EXAMPLES
from handlers.http_edge.routes import API, FLEET_QUERIES, ROUTES
from handlers.queries.asking import asked
from projections.registry import QUESTIONS
from tenant_domain.refusals import Refusal
from tenant_domain.registry import COMMANDS
from tenant_domain.tenant.commands import Admin
from tests.support.oddities import ID, TEXTS, VALUES

DOCUMENT = openapi()
FORMS = {**{name: spec.form for name, spec in COMMANDS.items()}, "ControlOperations": ControlOperations}


def fits(schema: dict[str, Any], value: Any) -> bool:
    """Whether the document takes a value."""
    whole = {**schema, "components": DOCUMENT["components"]}
    return Draft202012Validator(whole, format_checker=FormatChecker()).is_valid(value)


def taken(form: type[Any], body: dict[str, Any]) -> bool:
    """Whether a form takes a body."""
    try:
        validated(form, canonical(json.dumps(body).encode()))
    except Refusal:
        return False
    return True


@pytest.mark.parametrize("name", FORMS)
def test_a_command_takes_what_is_documented_and_nothing_else(name: str) -> None:
    form = FORMS[name]
    example = EXAMPLES.get(name, EXAMPLES["retry_operations"])
    bodies_of = [{**example, field: value} for field in (*form.model_fields, "nope") for value in VALUES]
    if "admin" in form.model_fields:
        fields = (*Admin.model_fields, "nope")
        admins = [{**example["admin"], field: value} for field in fields for value in VALUES]
        bodies_of += [{**example, "admin": admin} for admin in admins]
    schema = {"$ref": f"#/components/schemas/{name}"}
    for body in bodies_of:
        assert fits(schema, body) == taken(form, body), str(body)[:300]


def paths_of(name: str, fleet: bool) -> list[str]:
    """The paths that ask a query by a route of its own."""
    if fleet:
        return [API] if name in ("tenants", *FLEET_QUERIES.values()) else []
    own = (route.path for route in ROUTES if route.kind == "query" and route.name == name)
    return [path.replace(":str", "") for path in own]


@pytest.mark.parametrize(
    ("path", "name", "fleet"),
    [(path, name, fleet) for fleet, name in QUESTIONS for path in paths_of(name, fleet)],
)
def test_a_query_takes_the_parameters_that_are_documented_and_no_other(
    path: str, name: str, fleet: bool
) -> None:
    form: type[BaseModel] = QUESTIONS[fleet, name].form
    kinds = bodies.kinds_of(form)
    given = [each for each in DOCUMENT["paths"][path]["get"]["parameters"] if "name" in each]
    schemas = {each["name"]: each["schema"] for each in given if each["name"] != "tenant_id"}
    assert set(form.model_fields) <= set(schemas)
    assert path == API or set(schemas) == set(form.model_fields)
    least = {field: ID for field, info in form.model_fields.items() if info.is_required()}
    for field in set(form.model_fields) & set(schemas):
        if "date-time" in kinds[field]:
            continue  # its own tests say more of times than a format can
        for text in TEXTS:
            value = bodies.fields([(field, text)], kinds)[field]
            body = json.dumps({**least, field: value}).encode()
            try:
                asked("fleet" if fleet else ID, name, body)
                accepted = True
            except Refusal:
                accepted = False
            assert fits(schemas[field], value) == accepted, (field, value)

"""A row of a read model is folded on from, so what it holds may not change behind its back."""

import hashlib
from typing import Any

import msgspec
import pytest

from projections import operations, tenants
from projections.read_model import ReadModel
from tenant_domain.registry import ENTITIES


def without_words(schema: Any) -> Any:
    """The schema without what is only said to people."""
    if isinstance(schema, dict):
        return {key: without_words(value) for key, value in schema.items() if key != "description"}
    return [without_words(value) for value in schema] if isinstance(schema, list) else schema


@pytest.mark.parametrize(
    ("model", "view", "digest"),
    [
        (tenants.MODEL, tenants.TenantView, "88259f26a6fd6424"),
        (operations.MODEL, operations.OperationView, "099dca63575bcc57"),
    ],
    ids=["tenants", "operations"],
)
def test_whoever_changes_a_read_model_changes_its_revision(
    model: ReadModel, view: type[msgspec.Struct], digest: str
) -> None:
    """When this fails: raise `revision` in the model, then put the new digest here."""
    schemas = [without_words(msgspec.json.schema(each)) for each in (ENTITIES[model.entity].state, view)]
    shape = repr((model.revision, model.all_columns, schemas))
    assert hashlib.blake2b(shape.encode(), digest_size=8).hexdigest() == digest

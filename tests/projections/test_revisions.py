"""A row of a read model is folded on from, so what it holds may not change behind its back."""

import hashlib
from typing import Any, cast

import msgspec
import pytest

from projections import operations, tenants
from projections.read_model import ReadModel
from tenant_domain.registry import ENTITIES


def without_words(schema: Any) -> Any:
    """The schema without what is only said to people."""
    match schema:
        case dict():
            items = cast("dict[str, Any]", schema).items()
            return {
                key: without_words(value)
                for key, value in items
                if key != "description" and not key.startswith("x-")
            }
        case list():
            return [without_words(value) for value in cast("list[Any]", schema)]
        case _:
            return schema


@pytest.mark.parametrize(
    ("model", "view", "digest"),
    [
        (tenants.MODEL, tenants.TenantView, "77458f4faa03434b"),
        (operations.MODEL, operations.OperationView, "7ee2bc4d362b0602"),
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

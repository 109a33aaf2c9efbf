"""Values and forms: what a command's body may be, and that the field at fault is named."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tenant_domain.catalogue import PLANS, REGIONS, RESERVED_SUBDOMAINS, default_branding
from tenant_domain.operation.commands import CancelOperation
from tenant_domain.registry import COMMANDS
from tenant_domain.tenant.commands import Admin, Provision, Suspend, UpdateProfile
from tenant_domain.values import checked_json, checked_name, checked_subdomain, same_json
from tests.support.examples import COMMAND_EXAMPLES

PROVISION: Mapping[str, Any] = {
    "name": "Acme",
    "subdomain": "acme",
    "admin": {"email": "ada@acme.example", "name": "Ada Lovelace"},
}


def provision(**fields: Any) -> Provision:
    """Read the body of a `provision` with `fields` put in place of valid ones."""
    return Provision.model_validate_json(json.dumps({**PROVISION, **fields}))


def admin(**fields: Any) -> Provision:
    return provision(admin={**PROVISION["admin"], **fields})


def fault(refused: pytest.ExceptionInfo[ValidationError]) -> str:
    return ".".join(str(part) for part in refused.value.errors()[0]["loc"])


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_an_example_that_reads_back(name: str):
    command = COMMAND_EXAMPLES[name]
    form = COMMANDS[name].form
    assert type(command) is form
    assert form.model_validate_json(command.model_dump_json(exclude_unset=True)) == command


@pytest.mark.parametrize("name", ["A", "x" * 200, "Zoë & Söhne 株式会社", " padded "])
def test_a_name_is_what_people_call_it(name: str):
    assert provision(name=name).name == name


@pytest.mark.parametrize("name", ["", "   ", "\u2003", "x" * 201, "a\nb", "a\x00b", "a\x7fb", 7, None])
def test_a_name_is_one_to_200_characters_not_blank_and_without_control_characters(name: object):
    with pytest.raises(ValidationError) as refused:
        provision(name=name)
    assert fault(refused) == "name"


@pytest.mark.parametrize("name", ["\u200b", "\ufeff \u00ad", "\u3164", "\u2800", "\U000e0041"])
def test_what_shows_nothing_is_blank(name: str):
    with pytest.raises(ValueError, match="blank"):
        checked_name(name)
    with pytest.raises(ValueError, match="blank"):
        Suspend(reason=name)


@pytest.mark.parametrize("name", ["a\u202eb", "a\u2028b", "\u2067a"])
def test_a_name_turns_no_direction_and_ends_no_line(name: str):
    with pytest.raises(ValueError, match="control"):
        checked_name(name)


@pytest.mark.parametrize(
    "name", ["Caf\u00e9", "Cafe\u0301", "\u0645\u06cc\u200c\u0634", "\U0001f469\u200d\U0001f680"]
)
def test_a_name_stays_as_it_was_written(name: str):
    assert checked_name(name) == name


@pytest.mark.parametrize("written", ["{%s}", "urn:uuid:%s", "%s0", "%.8s", ""])
def test_an_id_is_a_hyphenated_uuid_and_nothing_else(written: str):
    own = "01938f5e-7c00-7000-8000-000000000001"
    assert CancelOperation.model_validate_json(f'{{"operation_id": "{own.upper()}"}}').operation_id == UUID(
        own
    )
    with pytest.raises(ValidationError, match="hyphenated UUID"):
        CancelOperation.model_validate_json(
            f'{{"operation_id": "{written % own if "%" in written else written}"}}'
        )


def test_a_name_has_no_lone_surrogate():
    with pytest.raises(ValueError, match="control"):
        checked_name("a\ud800")


@pytest.mark.parametrize(
    "fields",
    [
        {"name": "sealed:0"},
        {"admin": {**PROVISION["admin"], "email": "sealed:x@acme.example"}},
        {"metadata": {"crm": "sealed:"}},
        {"settings": {"deep": [{"er": "sealed:1"}]}},
    ],
)
def test_nobody_sends_what_looks_like_a_sealed_value(fields: dict[str, Any]):
    with pytest.raises(ValidationError, match="must not begin with sealed:"):
        provision(**fields)


@pytest.mark.parametrize("label", ["a", "7", "acme-2", "x" * 63, "a--b"])
def test_a_subdomain_is_a_dns_label(label: str):
    assert provision(subdomain=label).subdomain == label


@pytest.mark.parametrize("label", ["", "-a", "a-", "Acme", "a.b", "a_b", "x" * 64, "ä", "acme\n", 7])
def test_a_subdomain_is_nothing_else(label: object):
    with pytest.raises(ValidationError) as refused:
        provision(subdomain=label)
    assert fault(refused) == "subdomain"


@pytest.mark.parametrize(
    "email", ["ada@acme.example", "a.b+c@x-y.co", "Ö@acme.example", "ada@acme.xn--p1ai", "a'b@a.b.cd"]
)
def test_an_email_is_well_formed(email: str):
    assert admin(email=email).admin.email == email


@pytest.mark.parametrize(
    "email",
    [
        "",
        "ada",
        "ada@",
        "@acme.example",
        "ada@acme",
        "ada@@acme.example",
        "a b@acme.example",
        "ada@-acme.example",
        "ada@acme-.example",
        "ada@acme..example",
        "ada@acme.example\n",
        "ada@acme.1",
        "a" * 65 + "@acme.example",
        "ada@" + "a." * 127 + "com",
        "a\x00@acme.example",
    ],
)
def test_an_email_is_nothing_else(email: str):
    with pytest.raises(ValidationError) as refused:
        admin(email=email)
    assert fault(refused) == "admin.email"


def test_an_email_has_no_lone_surrogate():
    with pytest.raises(ValidationError):
        Admin.model_validate({"email": "a\ud800@acme.example", "name": "Ada"})


@pytest.mark.parametrize("user_id", ["", "a b", "x" * 129, "a/b", "a\n", "a*"])
def test_a_user_id_can_stand_in_a_key(user_id: str):
    with pytest.raises(ValidationError) as refused:
        admin(user_id=user_id)
    assert fault(refused) == "admin.user_id"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("plan", ""),
        ("plan", 1),
        ("region", ""),
        ("trial_days", -1),
        ("trial_days", 3651),
        ("trial_days", 1.5),
        ("trial_days", "30"),
        ("trial_days", True),
        ("metadata", {"a": 1}),
        ("metadata", {"a": "\x00"}),
        ("metadata", {"\x00": "a"}),
        ("metadata", []),
        ("settings", "x"),
        ("settings", {"a": "\x00"}),
        ("settings", {"\x00": 1}),
        ("settings", {"a": [1, {"b": 2**63}]}),
        ("settings", {"a": float("nan")}),
        ("settings", {"a": [float("-inf")]}),
        ("shoe_size", 42),
        ("tenant_id", "01938f5e-7c00-7000-8000-000000000001"),
    ],
)
def test_a_field_that_does_not_fit_is_named(field: str, value: object):
    with pytest.raises(ValidationError) as refused:
        provision(**{field: value})
    assert fault(refused).startswith(field)


def test_settings_nest_32_deep_and_no_deeper():
    deep: Any = {}
    for _ in range(30):
        deep = {"a": deep}
    assert provision(settings={"a": deep}).settings == {"a": deep}
    with pytest.raises(ValidationError, match="too deep"):
        provision(settings={"a": {"a": deep}})


def test_a_string_that_cannot_be_written_cannot_come_in():
    with pytest.raises(ValueError, match="surrogate"):
        checked_json({"a": "\ud800"})


@pytest.mark.parametrize("body", [{}, {"name": None}, {"settings": None, "metadata": None}])
def test_a_profile_update_of_nothing_is_refused(body: dict[str, Any]):
    with pytest.raises(ValidationError, match="at least one"):
        UpdateProfile.model_validate_json(json.dumps(body))


@pytest.mark.parametrize("reason", ["", "x" * 1001, "a\x00", None, 1])
def test_a_suspension_has_a_reason(reason: object):
    with pytest.raises(ValidationError) as refused:
        COMMANDS["suspend"].form.model_validate_json(json.dumps({"reason": reason}))
    assert fault(refused) == "reason"


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ({"a": 1, "b": [2]}, {"b": [2], "a": 1}, True),
        (1, True, False),
        (0, False, False),
        ([1], [1.5], False),
        (None, None, True),
        ("", None, False),
    ],
)
def test_json_values_are_the_same_or_not(one: Any, other: Any, same: bool):
    assert same_json(one, other) is same


def test_the_catalogue_is_sound():
    assert set(PLANS) == {"free", "basic", "professional", "enterprise"}
    resources = [set(plan.quotas) for plan in PLANS.values()]
    assert all(each == {"users", "storage", "api_calls", "compute"} for each in resources)
    assert len({frozenset(plan.flags) for plan in PLANS.values()}) == 1
    assert all(plan.name == name and plan.on_sale for name, plan in PLANS.items())
    assert all(checked_subdomain(label) == label for label in RESERVED_SUBDOMAINS)
    assert len(set(REGIONS)) == len(REGIONS)
    assert default_branding("Acme")["display_name"] == "Acme"


# Whatever comes in is a command or a ValidationError, never another error.

_NAMES = ["name", "subdomain", "plan", "admin", "region", "trial_days", "metadata", "settings", "reason"]
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
_BODIES = st.dictionaries(st.sampled_from([*_NAMES, "operation_id"]) | st.text(), _JSON, max_size=6) | _JSON


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(COMMANDS)), _BODIES)
def test_any_json_is_a_command_or_a_validation_error(name: str, body: Any):
    _read(name, json.dumps(body).encode())


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(sorted(COMMANDS)), st.binary(max_size=200))
def test_any_bytes_are_a_command_or_a_validation_error(name: str, body: bytes):
    _read(name, body)


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize(
    "body",
    [
        b'{"settings": ' + b"[" * 100_000,
        b'{"settings": {"a": ' + b"[" * 5_000 + b"]" * 5_000 + b"}}",
        b'{"settings": {"a": ' + b"9" * 100_000 + b"}}",
        b'{"trial_days": ' + b"9" * 100_000 + b"}",
        b'{"settings": {"a": 1e999}}',
        b'{"settings": {"a": "\\ud800"}}',
        b'{"name": "\xff"}',
        b'{"operation_id": "' + b"0" * 10_000 + b'"}',
        b'{"admin": {"email": "' + b"a." * 50_000 + b'"}}',
    ],
)
def test_a_hostile_body_is_a_validation_error(name: str, body: bytes):
    with pytest.raises(ValidationError):
        COMMANDS[name].form.model_validate_json(body)


def _read(name: str, body: bytes) -> None:
    try:
        command = COMMANDS[name].form.model_validate_json(body)
    except ValidationError:
        return
    again = type(command).model_validate_json(command.model_dump_json(exclude_unset=True))
    assert again == command


def an_admin(user_id: str) -> dict[str, Any]:
    return {**PROVISION["admin"], "user_id": user_id}


@pytest.mark.parametrize(
    "user_id",
    ["auth0|123", "ada@acme.example", "ada+1@acme.example", "7", "a" * 128, "google-oauth2|1.0_x", "urn:x:1"],
)
def test_ids_of_identity_providers_are_taken(user_id: str):
    assert provision(admin=an_admin(user_id)).admin.user_id == user_id


@pytest.mark.parametrize(
    "user_id",
    ["", ".", "..", "|", "a" * 129, "a b", "a*", "a>", "a/b", "a\n", "a\x00", "é", "\u2028", "a\ud800"],
)
def test_what_no_subject_key_or_path_can_name_is_no_user_id(user_id: str):
    with pytest.raises(ValidationError, match="user_id"):
        provision(admin=an_admin(user_id))


@pytest.mark.parametrize(
    "fields",
    [
        {"metadata": {"k" * 256: ""}},
        {"metadata": {f"{n:x}": "" for n in range(16_385)}},
        {"settings": {"deep": {"k" * 256: 1}}},
        {"settings": {"deep": [0] * 16_385}},
    ],
    ids=["long key", "many keys", "long inner key", "many items"],
)
def test_keys_and_counts_have_bounds(fields: dict[str, Any]):
    with pytest.raises(ValidationError, match=next(iter(fields))):
        provision(**fields)


def test_bounds_are_where_they_are_said_to_be():
    metadata = {"k" * 255: "", **{f"{n:x}": "" for n in range(16_383)}}
    assert provision(metadata=metadata).metadata == metadata

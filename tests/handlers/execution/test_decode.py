"""A command is decoded to a request, or refused with the field named."""

import json
from hashlib import blake2b
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from handlers.execution.body import MAX_BODY
from handlers.execution.decode import Request, check_headers, decoded
from handlers.wire.headers import Received
from tenant_domain.refusals import InvalidCommand, Refusal, UnknownCommand

TENANT = "018f4d7e-0c5b-7c4e-9b1e-3f1a2b3c4d5e"
COMMAND_ID = "5b0f5a7c-54a8-4f5c-9d33-0d3c6f2a8a01"
MADE_UP = UUID("11111111-2222-4333-8444-555555555555")


def decode(
    body: bytes | dict[str, Any] = b"",
    *,
    command: str = "resume",
    tenant: str = TENANT,
    durable: bool = True,
    headers: dict[str, str] | None = None,
    **more: str,
) -> Request:
    given = {"Command-Id": COMMAND_ID} if headers is None else headers
    if more:
        given = {**given, **{name.replace("_", "-"): value for name, value in more.items()}}
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    return decoded(tenant, command, given, text, durable=durable, new_id=lambda: MADE_UP)


def refused_fields(*args: Any, **more: Any) -> list[str]:
    with pytest.raises(InvalidCommand) as refusal:
        decode(*args, **more)
    return [error["field"] for error in refusal.value.extra["errors"]]


def test_a_command_that_fits_its_form_becomes_a_request() -> None:
    request = decode({"name": "Acme"}, command="update_profile", Expected_Version="7", Actor="ops@console")

    assert request.tenant_id == UUID(TENANT)
    assert request.command_id == UUID(COMMAND_ID)
    assert request.form.model_dump(exclude_none=True) == {"name": "Acme"}
    assert request.expected_versions == (7,)
    assert request.meta.actor == "ops@console"


CONTRACT_HEADERS = (
    ("Command-Id", COMMAND_ID),
    ("Expected-Version", "1"),
    ("Actor", "ops"),
    ("Reply-To", "_INBOX.x"),
    ("Correlation-Id", "order-1"),
    ("Causation-Id", "click-2"),
)


@pytest.mark.parametrize(("name", "value"), CONTRACT_HEADERS)
def test_a_header_in_another_case_is_refused_by_name(name: str, value: str) -> None:
    for other in (name.lower(), name.upper(), name.swapcase()):
        assert refused_fields(headers={"Command-Id": COMMAND_ID, other: value}) == [other]
        with pytest.raises(InvalidCommand):
            check_headers({other: value})


@pytest.mark.parametrize(("name", "value"), CONTRACT_HEADERS)
def test_a_header_that_stands_there_twice_is_refused_by_name(name: str, value: str) -> None:
    headers = Received({"Command-Id": COMMAND_ID, name: value})
    headers.repeated = frozenset({name})
    assert refused_fields(headers=headers) == [name]


def test_headers_of_others_may_stand_there_twice() -> None:
    headers = Received({"Command-Id": COMMAND_ID, "X-Via": "b"})
    headers.repeated = frozenset({"X-Via"})
    assert decode(headers=headers).command_id == UUID(COMMAND_ID)


def test_a_trace_has_its_name_in_any_case_but_once() -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    assert decode(Traceparent=trace).meta.traceparent == trace
    assert decode(Traceparent=trace, TRACEPARENT=trace).meta.traceparent is None
    headers = Received({"Command-Id": COMMAND_ID, "traceparent": trace})
    headers.repeated = frozenset({"traceparent"})
    assert decode(headers=headers).meta.traceparent is None


def test_numbers_compare_as_numbers() -> None:
    def hash_of(text: str) -> bytes:
        return decode(f'{{"settings":{{"n":{text}}}}}'.encode(), command="update_profile").hash

    for same in (
        ("1", "1.0", "1e0", "10e-1", "1.00000"),
        ("0", "-0", "-0.0", "0e99", "0E-5"),
        ("100", "1e2", "1E+2"),
        ("1.1", "1.10", "11e-1"),
        ("9007199254740993", "9007199254740993.0", "9.007199254740993e15"),
        ("1e22", "10000000000000000000000.0"),
        ('"a"', '"\\u0061"'),
        ('{"a":1,"b":2}', '{"b":2.0,"a":1}'),
        ("[1,2]", "[1.0,2]"),
    ):
        assert len({hash_of(text) for text in same}) == 1, same
    different = ("1", "true", '"1"', "null", "[1]", "2", "1.5", "9007199254740993", "9007199254740992")
    assert len({hash_of(text) for text in different}) == len(different)


def test_what_was_recorded_before_is_still_the_same_body() -> None:
    text = b'{"name":"Acme","settings":{"a":1,"b":1.5,"c":[true,null,"x"]}}'
    expected = blake2b(b"update_profile\n" + text, digest_size=16).digest()
    assert decode(text, command="update_profile").hash == expected


def test_a_whole_number_may_have_a_fraction_of_zero() -> None:
    request = decode(b'{"confirm_subdomain":"acme","retain_days":30.0}', command="terminate")
    assert request.form.model_dump()["retain_days"] == 30
    assert refused_fields(b'{"confirm_subdomain":"acme","retain_days":30.5}', command="terminate")


def test_what_follows_is_correlated_with_the_command_by_default() -> None:
    meta = decode().meta
    assert (meta.correlation_id, meta.causation_id) == (COMMAND_ID, COMMAND_ID)

    meta = decode(Correlation_Id="order-1", Causation_Id="click-2").meta
    assert (meta.correlation_id, meta.causation_id) == ("order-1", "click-2")


def test_an_upper_case_command_id_is_the_same_command() -> None:
    request = decode(headers={"Command-Id": COMMAND_ID.upper()})
    assert request.command_id == UUID(COMMAND_ID)
    assert request.meta.correlation_id == COMMAND_ID


def test_the_durable_door_wants_a_command_id_and_the_answered_one_makes_it_up() -> None:
    assert refused_fields(headers={}) == ["Command-Id"]
    assert decode(headers={}, durable=False).command_id == MADE_UP


@pytest.mark.parametrize(
    "tenant", [TENANT.upper(), TENANT.replace("-", ""), f"{{{TENANT}}}", "", "*", TENANT + "\n", "unknown"]
)
def test_the_tenant_is_a_lower_case_hyphenated_uuid(tenant: str) -> None:
    assert refused_fields(tenant=tenant) == ["tenant_id"]


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("Command-Id", "17"),
        ("Command-Id", COMMAND_ID.replace("-", "")),
        ("Expected-Version", "-1"),
        ("Expected-Version", "1.0"),
        ("Expected-Version", "٣"),
        ("Expected-Version", ""),
        ("Expected-Version", "9" * 19),
        ("Reply-To", "tenants.events.b.forged"),
        ("Reply-To", "_INBOX.>"),
        ("Reply-To", ""),
        ("Actor", "x" * 256),
        ("Actor", ""),
        ("Actor", "a\r\nce-actor: root"),
        ("Actor", "bad \ufffd bytes"),
        ("Actor", "sealed:0:forged"),
        ("Correlation-Id", "a\x00b"),
        ("Causation-Id", "half \ud83d"),
    ],
)
def test_a_header_that_does_not_fit_is_refused_by_name(header: str, value: str) -> None:
    assert refused_fields(headers={"Command-Id": COMMAND_ID, header: value}) == [header]


def test_all_headers_that_do_not_fit_are_named_at_once() -> None:
    fields = refused_fields(tenant="me", headers={"Expected-Version": "x", "Actor": ""})
    assert fields == ["tenant_id", "Command-Id", "Expected-Version", "Actor"]


def test_an_outcome_goes_to_an_inbox_of_the_caller() -> None:
    assert decode(Reply_To="_INBOX.abc.1")
    assert decode(Reply_To="_INBOX_billing.abc")


def test_reply_to_has_no_meaning_on_the_answered_door() -> None:
    assert decode(durable=False, Reply_To="tenants.events.b.forged")


def test_a_traceparent_that_is_none_is_left_out() -> None:
    whole = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    assert decode(headers={"Command-Id": COMMAND_ID, "traceparent": whole}).meta.traceparent == whole
    for broken in ("", "00-0", whole.replace("4bf92f3577b34da6a3ce929d0e0e4736", "0" * 32), "ff" + whole[2:]):
        assert decode(headers={"Command-Id": COMMAND_ID, "traceparent": broken}).meta.traceparent is None


def test_an_unknown_command_is_refused_as_such() -> None:
    for command, told in (
        ("reboot", r"no command 'reboot'\."),
        ("updat_profile", r"no command 'updat_profile'; did you mean update_profile\?"),
        ("", "no command ''"),
        ("Provision", "provision"),
        ("claim", "claim"),
        ("x" * 10_000, "no command 'x{100}'"),
    ):
        with pytest.raises(UnknownCommand, match=told):
            decode(command=command)


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b"null",
        b"1",
        b'"{}"',
        b"{} {}",
        b"\xef\xbb\xbf{}",
        b'{"name": NaN}',
        b'{"name": "\xff"}',
        b'{"name": "\\ud800"}',
        b'{"settings": {"a": 1e999}}',
        b'{"settings": ' * 50_000,
        b"{'name': 'a'}",
        b'{"name": "a"}\x00',
        b" " * (MAX_BODY - 1) + b"{}",
    ],
)
def test_a_body_is_one_json_object_that_everybody_reads_alike(body: bytes) -> None:
    assert refused_fields(body, command="update_profile") == ["body"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b'{"name": "a", "name": "b"}', "name"),
        (b'{"name": "a", "n\\u0061me": "b"}', "name"),
        (b'{"settings": {"a": 1, "a": 1}}', "a"),
        (b'{"settings": {"a:": 1, "a:": "\\u003a"}}', "a:"),
    ],
)
def test_a_field_that_stands_twice_is_named(body: bytes, field: str) -> None:
    assert refused_fields(body, command="update_profile") == [field]


def test_a_body_may_have_256_kib_and_not_a_byte_more() -> None:
    body = b'{"settings": {"text": "%s"}}'
    room = MAX_BODY - len(body) + 2
    assert decode(body % (b"x" * room), command="update_profile")
    assert refused_fields(body % (b"x" * (room + 1)), command="update_profile") == ["body"]


def test_each_field_that_does_not_fit_is_named() -> None:
    body = {"name": " ", "subdomain": "A", "admin": {"email": "x", "nick": 1}, "plan": 3, "colour": "red"}
    fields = refused_fields(body, command="provision")
    assert sorted(fields) == [
        "admin.email",
        "admin.name",
        "admin.nick",
        "colour",
        "name",
        "plan",
        "subdomain",
    ]


def test_a_rule_over_several_fields_names_the_body() -> None:
    assert refused_fields({}, command="update_profile") == ["body"]


def test_no_value_is_repeated_in_a_refusal() -> None:
    secret = "correct-horse-battery"
    body = {"name": secret * 20, "subdomain": secret + "!", "admin": secret, "metadata": {"k": [secret]}}
    with pytest.raises(InvalidCommand) as refusal:
        decode(body, command="provision")
    assert secret not in json.dumps([refusal.value.detail, refusal.value.extra["errors"]])


def test_a_refusal_names_twenty_fields_at_most_and_cuts_long_ones() -> None:
    fields = refused_fields({f"{'f' * 500}{i}": 1 for i in range(100)}, command="resume")
    assert len(fields) == 20
    assert max(map(len, fields)) <= 100


def test_an_empty_body_is_an_empty_object() -> None:
    assert decode(b"").hash == decode(b" {} ").hash


def test_bodies_compare_as_values() -> None:
    def hash_of(body: bytes, command: str = "update_profile") -> bytes:
        return decode(body, command=command).hash

    one = hash_of(b'{"name": "A", "metadata": {"a": "1", "b": "2"}}')
    assert hash_of(b'{"metadata":{"b":"2","a":"1"},"name":"\\u0041"}') == one
    assert hash_of(b'{"name": "B", "metadata": {"a": "1", "b": "2"}}') != one
    assert decode(b"", command="resume").hash != decode({"reason": "r"}, command="suspend").hash


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)
fields = st.sampled_from(
    ["name", "subdomain", "plan", "admin", "region", "metadata", "settings", "reason", "operation_id", "x"]
)
bodies = st.binary(max_size=200) | st.dictionaries(fields, json_values, max_size=5).map(
    lambda body: json.dumps(body).encode()
)
headers = st.dictionaries(
    st.sampled_from(["Command-Id", "Reply-To", "Expected-Version", "Actor", "Correlation-Id", "traceparent"]),
    st.text(max_size=40) | st.just(COMMAND_ID) | st.integers().map(str),
)


@given(
    tenant=st.text(max_size=40) | st.just(TENANT),
    command=st.sampled_from(["provision", "update_profile", "suspend", "cancel_operation"])
    | st.text(max_size=9),
    headers=headers,
    body=bodies,
    durable=st.booleans(),
)
@example(
    TENANT, "update_profile", {"Command-Id": COMMAND_ID}, b'{"settings":{"a":' + b"9" * 400 + b"}}", True
)
@example(TENANT, "update_profile", {"Command-Id": COMMAND_ID}, b'{"settings":{"a":' + b"9" * 40 + b"}}", True)
def test_nothing_comes_out_but_a_request_or_a_refusal(
    tenant: str, command: str, headers: dict[str, str], body: bytes, durable: bool
) -> None:
    try:
        request = decoded(tenant, command, headers, body, durable=durable, new_id=uuid4)
    except Refusal as refusal:
        json.dumps(refusal.extra).encode()
    else:
        assert isinstance(request, Request)

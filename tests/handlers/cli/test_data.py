"""Events, the log, read models and dead letters by the command line, on a whole running service."""

import asyncio
import json
from typing import Any
from uuid import uuid4

import nats
import pytest

from handlers.wire.dead_letters import DeadLetter, packed
from handlers.wire.subjects import Streams, Subjects
from tests.handlers.cli.conftest import CommandLine
from tests.support.waiting import PATIENCE

FACT = {"position", "tenant_id", "version", "type", "time", "data", "actor", "correlation_id"}


@pytest.fixture(scope="module")
def made(tenantctl: CommandLine) -> dict[str, Any]:
    """A tenant that is active."""
    result = tenantctl.json(
        *("tenants", "provision", "--name", "Acme", "--subdomain", f"d{uuid4().hex[:12]}"),
        *("--admin-email", "ada@acme.example", "--admin-name", "Ada", "--wait"),
    )
    assert result.code == 0, result.err
    return result.lines[0]


def test_history_events_and_replay_tell_the_same(tenantctl: CommandLine, made: dict[str, Any]) -> None:
    tenant, last = made["tenant_id"], made["position"]
    history = tenantctl.json("history", tenant, "--to", last).lines
    replayed = tenantctl.json("replay", "--tenant", tenant, "--to", last).lines
    watched = tenantctl.json("events", "tail", tenant, "--from", 1, "--limit", len(history)).lines
    assert [set(fact) for fact in history] == [FACT] * len(history)
    assert [{key: fact[key] for key in FACT} for fact in replayed] == history
    sealed = tenantctl.json("replay", "--tenant", tenant, "--to", last, "--sealed").lines
    assert [{key: fact[key] for key in FACT} for fact in sealed] == watched
    assert "ada@" in str(history)
    assert "ada@" not in str(watched)


def test_a_history_of_all_tenants_shows_the_facts_own_fields(
    tenantctl: CommandLine, made: dict[str, Any]
) -> None:
    at = ("--from", made["position"], "--to", made["position"])
    (fact,) = tenantctl.json("history", *at).lines
    assert json.dumps(fact["data"])[:20] in tenantctl("history", *at).out


def test_a_replay_is_narrowed(tenantctl: CommandLine, made: dict[str, Any]) -> None:
    tenant = made["tenant_id"]
    activated = tenantctl("replay", "--tenant", tenant, "--type", "tenant.activated").record
    assert activated["type"] == "tenant.activated"
    at = activated["position"]
    alone = tenantctl("replay", "--from", at, "--to", at)
    assert [fact["position"] for fact in alone.lines] == [at]
    everything = tenantctl("replay").lines
    assert [fact["position"] for fact in everything] == list(range(1, len(everything) + 1))


@pytest.mark.parametrize("words", [("history",), ("events", "tail"), ("replay",)], ids=" ".join)
def test_a_mistyped_type_is_misuse_and_the_nearest_one_named(
    tenantctl: CommandLine, words: tuple[str, ...]
) -> None:
    refused = tenantctl(*words, "--type", "tenant.activated", "--type", "tenant.suspendet")
    assert refused.code == 2
    assert "tenant.suspendet" in refused.err
    assert "tenant.suspended?" in refused.err


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("tenants", "list", "--plan", "gold"), 1, "basic, enterprise, free, professional"),
        (("tenants", "list", "--status", "activ"), 1, "'suspended'"),
        (("operations", "list", "--kind", "upgrad"), 1, "upgrade"),
        (("operations", "list", "--status", "done"), 1, "'succeeded'"),
        (("operations", "bulk", "retry", "--kind", "upgrad"), 1, "upgrade"),
        (("dead-letters", "list", "--reason", "invalid-comand"), 2, "did you mean invalid-command?"),
        (("dead-letters", "list", "--stream", "TENANT_COMMAND"), 2, "did you mean TENANT_COMMANDS?"),
        (("dead-letters", "list", "--tenant", "acme"), 2, "id of a tenant"),
        (("dead-letters", "replay", "--reason", "forbiden"), 2, "did you mean forbidden?"),
        (("dead-letters", "dismiss", "--reason", "forbiden", "--yes"), 2, "did you mean forbidden?"),
        (("replay", "--tenant", "0197a3f0-1c5e-7b41-9d27-3f6e8a2b4c10"), 1, "There is no tenant"),
    ],
    ids=str,
)
def test_a_filter_that_nothing_can_fit_is_refused_with_what_there_is(
    tenantctl: CommandLine, words: tuple[str, ...], code: int, told: str
) -> None:
    refused = tenantctl(*words)
    assert (refused.code, refused.out) == (code, ""), refused.err
    assert told in refused.err


def test_a_replay_folds_to_states(tenantctl: CommandLine, made: dict[str, Any]) -> None:
    tenant = made["tenant_id"]
    now = {each["entity"]: each for each in tenantctl("replay", "--tenant", tenant, "--fold").lines}
    assert set(now) == {"tenant", "subdomain", "operation", "member"}
    assert now["tenant"]["state"]["status"] == "active"
    assert now["operation"]["state"]["status"] == "succeeded"
    then = tenantctl("replay", "--tenant", tenant, "--to", made["position"], "--fold").lines
    states = {each["entity"]: each["state"] for each in then}
    assert states["tenant"]["status"] == "provisioning"
    assert "member" not in states


def test_events_are_printed_for_a_person(tenantctl: CommandLine, made: dict[str, Any]) -> None:
    line = tenantctl("events", "tail", made["tenant_id"], "--from", 1, "--limit", 1).out
    assert "tenant.provisioning_started" in line
    assert made["tenant_id"] in line


def test_the_stream_of_events_is_filled_again(tenantctl: CommandLine, made: dict[str, Any]) -> None:
    before = tenantctl.json("events", "tail", made["tenant_id"], "--from", 1, "--limit", 5).out
    rebuilt = tenantctl.json("events", "rebuild")
    assert rebuilt.code == 0, rebuilt.err
    assert rebuilt.record["last"] >= made["position"]
    assert tenantctl.json("events", "tail", made["tenant_id"], "--from", 1, "--limit", 5).out == before


def test_the_live_context_is_shown_and_written_anew(tenantctl: CommandLine, made: dict[str, Any]) -> None:
    shown = tenantctl.json("context", "show", made["tenant_id"]).record
    assert (shown["status"], shown["plan"], shown["limits"]["users"]) == ("active", "basic", 25)
    rebuilt = tenantctl.json("context", "rebuild")
    assert rebuilt.code == 0, rebuilt.err
    assert rebuilt.record["last"] >= shown["position"]
    assert tenantctl.json("context", "show", made["tenant_id"]).record == shown
    nobody = tenantctl("context", "show", uuid4())
    assert nobody.code == 1
    assert "no entry" in nobody.err


def test_read_models_are_shown_rebuilt_and_mended(tenantctl: CommandLine, made: dict[str, Any]) -> None:
    status = tenantctl.json("projections", "status")
    assert status.code == 0
    models = {model["name"]: model for model in status.lines}
    assert set(models) == {"tenants", "operations"}
    assert set(models["tenants"]) == {"name", "generation", "position", "behind", "parked"}
    assert models["tenants"]["parked"] == []
    rebuilt = tenantctl.json("projections", "rebuild", "tenants").record
    assert rebuilt["generation"] == models["tenants"]["generation"] + 1
    assert tenantctl.json("tenants", "show", made["tenant_id"]).code == 0
    retried = tenantctl.json("projections", "retry", "tenants").record
    assert retried == {"name": "tenants", "mended": [], "parked": []}
    assert "tenants" in tenantctl("projections", "status").out


def buried(tenantctl: CommandLine, letter: DeadLetter, tenant: str) -> None:
    """Put a letter into the stream, as the relay does."""

    async def publish() -> None:
        url = json.loads((tenantctl.data_dir / "endpoints.json").read_text())["nats"]
        nc = await nats.connect(url)
        headers, body = packed(letter, nc.max_payload)
        subject = Subjects().dead(tenant, letter.stream, letter.reason)
        await nc.jetstream(timeout=PATIENCE).publish(subject, body, headers=headers)
        await nc.close()

    asyncio.run(publish())


def dead(subject: str, reason: str, **headers: str) -> DeadLetter:
    error = {"type": f"/problems/{reason}", "detail": "it would not"}
    return DeadLetter(
        id=str(uuid4()),
        stream=Streams().commands,
        sequence=7,
        subject=subject,
        reason=reason,
        time="2026-11-23T10:00:00+00:00",
        error=error,
        headers=headers,
        body=b'{"name": "Risen"}',
    )


def test_dead_letters_are_listed_shown_and_sent_again(tenantctl: CommandLine, made: dict[str, Any]) -> None:
    tenant, reason = made["tenant_id"], f"r{uuid4().hex[:8]}"
    command_id = str(uuid4())
    subject = Subjects().command(tenant, "update_profile")
    buried(tenantctl, dead(subject, reason, **{"Command-Id": command_id}), tenant)
    listed = tenantctl.json("dead-letters", "list", "--reason", reason)
    record = listed.record
    assert (record["tenant"], record["subject"], record["error"]["detail"]) == (
        tenant,
        subject,
        "it would not",
    )
    assert tenantctl.json("dead-letters", "show", record["number"]).record == record
    assert record["status"] == "open"
    assert "it would not" in tenantctl("dead-letters", "list", "--reason", reason).out
    sent = tenantctl.json("dead-letters", "replay", record["number"])
    assert (sent.code, sent.record["error"]) == (0, None)
    watched = tenantctl.json(
        *("events", "tail", tenant, "--from", 1, "--type", "tenant.profile_updated", "--limit", 1)
    )
    assert watched.record["data"] == {"name": "Risen"}
    again = tenantctl.json("dead-letters", "replay", "--reason", reason)
    assert again.record["sequence"] > sent.record["sequence"]
    person = tenantctl("dead-letters", "replay", record["number"])
    assert "sent again, at " in person.out
    assert "Risen" in tenantctl("dead-letters", "show", record["number"]).out


def test_a_dead_letter_that_needs_nothing_any_more_is_dismissed(
    tenantctl: CommandLine, made: dict[str, Any]
) -> None:
    tenant, reason = made["tenant_id"], f"r{uuid4().hex[:8]}"
    for _ in range(2):
        buried(tenantctl, dead(Subjects().command(tenant, "suspend"), reason), tenant)
    first, second = tenantctl.json("dead-letters", "list", "--reason", reason).lines
    assert (first["status"], second["status"]) == ("open", "open")

    unasked = tenantctl("dead-letters", "dismiss", first["number"])
    assert (unasked.code, "--yes" in unasked.err) == (2, True)
    assert tenantctl.json("dead-letters", "dismiss", first["number"], "--yes").code == 0

    assert tenantctl.json("dead-letters", "list", "--reason", reason).record["id"] == second["id"]
    shown = tenantctl.json("dead-letters", "show", first["number"]).record
    assert (shown["status"], shown["dismissed_by"].startswith("tenantctl:")) == ("dismissed", True)
    assert shown["dismissed_at"]
    told = tenantctl("dead-letters", "dismiss", "--tenant", tenant, "--reason", reason, "--yes")
    assert "1 dead letters dismissed" in told.out
    assert tenantctl.json("dead-letters", "list", "--reason", reason).lines == []
    everything = tenantctl.json("dead-letters", "list", "--reason", reason, "--dismissed").lines
    assert [each["status"] for each in everything] == ["dismissed"] * 2


def test_dead_letters_are_chosen_by_number_or_by_reason(tenantctl: CommandLine) -> None:
    for words in ((), (1, "--reason", "any")):
        assert tenantctl("dead-letters", "replay", *words).code == 2
        assert tenantctl("dead-letters", "dismiss", *words).code == 2
    missing = tenantctl.json("dead-letters", "show", 2**40)
    assert (missing.code, json.loads(missing.err)["type"]) == (1, "/problems/not-found")


def test_a_dead_letter_that_is_no_command_is_not_sent_again(
    tenantctl: CommandLine, made: dict[str, Any]
) -> None:
    reason = f"r{uuid4().hex[:8]}"
    subject = Subjects().event(made["tenant_id"], "tenant.activated")
    buried(tenantctl, dead(subject, reason), made["tenant_id"])
    refused = tenantctl("dead-letters", "replay", "--reason", reason)
    assert refused.code == 1
    assert "not a command" in refused.err

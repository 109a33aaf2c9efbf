"""A house where the servers run and nobody is in: what the doctor, and `projections`, say of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
import pytest

from deploy.embedded import EmbeddedStack
from handlers.http_edge.tokens import Signer
from handlers.store.event_store import EventStore
from handlers.store.migrate import migrate
from tenant_domain.tenant.events import ProfileUpdated, ProvisioningFailed
from tests.handlers.cli.conftest import CommandLine, Result
from tests.support.histories import History

BROKEN = b'{"v":1,"data":{"name":7},"meta":{}}'
MENDED = b'{"v":1,"data":{"name":"Mended"},"meta":{}}'

AWAY = {
    "TENANTS_OBJECTS_URL": "s3://?endpoint=http://127.0.0.1:1",
    "TENANTS_OBJECTS_ACCESS_KEY": "an id",
    "TENANTS_OBJECTS_SECRET_KEY": "a secret",
}
"""An object store that does not answer."""


class House:
    """Servers of a test's own, with the command line on them."""

    def __init__(self, servers: EmbeddedStack, command_line: CommandLine) -> None:
        self.nats_url = servers.endpoints.nats_url
        self.postgres_url = servers.endpoints.postgres_url
        self._command_line = command_line
        self.history = History()

    def __call__(self, *words: object, env: Mapping[str, str] | None = None) -> Result:
        where = {"TENANTS_NATS_URL": self.nats_url, "TENANTS_POSTGRES_URL": self.postgres_url}
        return self._command_line(*words, env={**where, "TENANTS_HTTP_PORT": "1", **(env or {})})

    def examined(self, **env: str) -> tuple[int, dict[str, dict[str, Any]]]:
        """Return the doctor's exit code and findings."""
        result = self("doctor", "--json", env=env)
        return result.code, {finding["what"]: finding for finding in result.lines}

    async def append(self) -> None:
        async with EventStore(self.postgres_url) as store:
            await self.history.append(store)

    async def execute(self, statement: str, *values: object) -> None:
        async with await psycopg.AsyncConnection.connect(self.postgres_url, autocommit=True) as connection:
            await connection.execute(statement.encode(), values)


@pytest.fixture
def house(own_stack: EmbeddedStack, unserved: CommandLine) -> House:
    return House(own_stack, unserved)


async def test_a_doctor_says_of_each_part_that_does_not_run_what_to_start(house: House) -> None:
    code, findings = house.examined()
    assert code == 1
    assert (findings["nats"]["state"], findings["postgres"]["state"]) == ("ok", "ok")
    assert findings["schema"]["found"] == "no tables"
    assert "sagas" not in findings

    await migrate(house.postgres_url)
    house.history.tenant()
    await house.append()
    dead = uuid4()  # its lease stands, for the clock was put back since; its connection does not
    await house.execute(
        "INSERT INTO service.saga_workers (owner, lease_until, pid, backend_start)"
        " VALUES (%s, now() + interval '1 hour', 1, now())",
        dead,
    )
    await house.execute(
        "INSERT INTO service.saga_agenda VALUES (%s, %s, 'provisioning', now() - interval '1 minute', %s)",
        *(uuid4(), uuid4(), dead),
    )
    await house.execute(
        "INSERT INTO service.dead_letters VALUES (%s, 't', 's', 1, 'r', 'x', '{}', '', '{}', now())", uuid4()
    )
    code, findings = house.examined()
    assert code == 1
    assert "signing_key_file" in findings
    told = {what: (each["state"], each["found"]) for what, each in findings.items()}
    assert (
        told
        | {
            "TENANT_COMMANDS": ("broken", "missing"),
            "TENANT_EVENTS": ("broken", "missing"),
            "durable commands": ("broken", "0 of 64 partitions have a worker"),
            "sagas": ("broken", "1 of 1 unfinished runs are overdue and nobody has them"),
            "relay": ("broken", "TENANT_EVENTS is 1 events behind the store"),
            "read model tenants": ("broken", "missing"),
            "read model operations": ("broken", "missing"),
            "dead letters": ("look", "1 messages were given up, 1 of them not published yet"),
        }
        == told
    )
    assert {what for what, each in findings.items() if each["state"] == "broken"} >= {"commands", "queries"}
    assert findings["http"]["state"] == "look"
    assert all(each["advice"] for each in findings.values() if each["state"] != "ok")


WITHOUT_SERVICE = (("replay",), ("projections", "status"), ("context", "rebuild"))


def named_in_a_sentence(result: Result) -> bool:
    """Whether a command ended as unavailable, with one sentence and no traceback."""
    (line,) = result.err.splitlines()
    return result.code == 3 and line.startswith("unavailable: ")


async def test_a_database_that_is_not_the_services_is_told_in_a_sentence(house: House) -> None:
    """Empty, of an older or a newer version, closed to this role: nothing ends in a traceback."""
    for words in WITHOUT_SERVICE:
        assert named_in_a_sentence(house(*words)), words
    await house.execute("CREATE SCHEMA service")
    await house.execute("CREATE TABLE service.event_head (former bigint)")
    for words in WITHOUT_SERVICE:
        assert named_in_a_sentence(house(*words)), words
    code, findings = house.examined()
    assert (code, findings["postgres"]["state"]) == (1, "ok")
    await house.execute("DROP SCHEMA service CASCADE")
    await migrate(house.postgres_url)
    await house.execute("CREATE ROLE stranger LOGIN PASSWORD 'x'")
    host = urlsplit(house.postgres_url)
    url = f"postgresql://stranger:x@{host.hostname}:{host.port}{host.path}"
    for words in WITHOUT_SERVICE:
        assert named_in_a_sentence(house(*words, env={"TENANTS_POSTGRES_URL": url})), words
    code, findings = house.examined(TENANTS_POSTGRES_URL=url)
    assert code == 1
    assert all(each["advice"] for each in findings.values() if each["state"] != "ok")


async def test_what_is_left_of_tenants_that_are_gone_is_named(house: House, tmp_path: Path) -> None:
    await migrate(house.postgres_url)
    living, failed, busy, stranger = (house.history.tenant(name) for name in ("A", "B", "C", "D"))
    for tenant in (failed, busy):
        house.history.add(tenant, tenant, ProvisioningFailed(operation_id=str(uuid4()), reason="planted"))
    await house.append()
    await house.execute("DELETE FROM service.events WHERE tenant_id = %s", stranger)
    assert house("projections", "rebuild", "tenants").code == 0
    await house.execute(
        "INSERT INTO service.saga_agenda VALUES (%s, %s, 'provisioning', now(), NULL)", uuid4(), busy
    )
    env = {"TENANTS_OBJECTS_URL": f"file:{tmp_path}"}
    assert house.examined(**env)[1]["leftovers"]["state"] == "ok"
    away = house.examined(**AWAY)[1]["leftovers"]
    why = "the buckets cannot be listed: The object store of TENANTS_OBJECTS_URL could not be asked"
    assert away["found"].startswith(why)
    assert "TENANTS_OBJECTS_URL" in away["advice"]
    for tenant in (living, failed, busy, stranger):
        name = f"t_{tenant.hex}"
        await house.execute(f"CREATE SCHEMA {name}")
        await house.execute(f"CREATE ROLE {name}")
        (tmp_path / f"t-{tenant.hex}").mkdir()
        (tmp_path / f"x-{tenant.hex}").mkdir()
    found = house.examined(**env)[1]["leftovers"]
    assert found["state"] == "look"
    said, _, names = found["found"].partition(": ")
    assert said == "6 things belong to tenants that are gone"
    left = {(failed, kind) for kind in ("bucket t-", "export x-", "role t_", "schema t_")}
    left |= {(living, "export x-"), (stranger, "schema t_")}
    assert {*names.split(", ")} <= {f"{kind}{tenant.hex}" for tenant, kind in left}
    assert len(names.split(", ")) == 5
    assert "DROP SCHEMA" in found["advice"]


async def test_a_read_model_that_stands_still_or_has_parked_streams_is_seen_and_mended(house: House) -> None:
    await migrate(house.postgres_url)
    ill = house.history.tenant("Ill")
    house.history.add_raw(ill, ill, "tenant.profile_updated", BROKEN)
    await house.append()
    assert house("projections", "status").code == 1
    assert house("projections", "rebuild", "operations").code == 0
    assert "generation" in house("projections", "rebuild", "tenants").out
    status = house("projections", "status")
    assert (status.code, str(ill) in status.out) == (1, True)
    assert "projections retry NAME" in status.out
    assert house.examined()[1]["read model tenants"]["found"] == "1 streams are parked"

    retried = house("projections", "retry", "tenants")
    assert retried.code == 1
    assert "0 streams go on, 1 stay parked." in retried.out
    await house.execute("UPDATE service.events SET state = %s WHERE originator_version = 2", MENDED)
    retried = house("projections", "retry", "tenants")
    assert (retried.code, retried.out) == (0, "1 streams go on, 0 stay parked.\n")
    assert house("projections", "status").code == 0
    assert house("projections", "retry", "nothing_such").code == 2

    house.history.add(ill, ill, ProfileUpdated(tenant_name="Later"))
    await house.append()
    found = house.examined()[1]["read model tenants"]
    assert (found["state"], found["found"]) == ("broken", "1 events behind, and not moving")


async def test_what_the_servers_do_not_carry_is_told_with_what_helps(house: House) -> None:
    await migrate(house.postgres_url)
    _, findings = house.examined()
    assert findings["sizes"]["state"] == "ok"
    await house.execute(
        "INSERT INTO service.claim_checks (outlet, position, tenant_id, bytes, reason)"
        " SELECT 'TENANT_EVENTS', n, gen_random_uuid(), n * 1000000, 'too large' FROM generate_series(2, 4) n"
    )
    _, findings = house.examined()
    assert findings["sizes"]["state"] == "look"
    assert "TENANT_EVENTS: 3 without their content, the first at position 2" in findings["sizes"]["found"]
    assert "4000000" in findings["sizes"]["found"]
    assert "max_payload" in findings["sizes"]["advice"]


def test_a_doctor_looks_at_the_key_files(lonely: CommandLine, tmp_path: Path) -> None:
    def found(**settings: str) -> dict[str, Any]:
        result = lonely.json("doctor", env={"TENANTS_NATS_URL": "nats://127.0.0.1:1", **settings})
        return {each["what"]: each for each in result.lines}["signing_key_file"]

    assert found()["state"] == "look"
    key = tmp_path / "signing.pem"
    assert found(TENANTS_SIGNING_KEY_FILE=str(key))["found"] == f"no {key} here"
    Signer.from_file(key, create=True)
    assert found(TENANTS_SIGNING_KEY_FILE=str(key))["state"] == "ok"
    key.chmod(0o644)
    exposed = found(TENANTS_SIGNING_KEY_FILE=str(key))
    assert (exposed["state"], exposed["advice"]) == ("broken", f"chmod 600 {key}")


async def test_whatever_state_a_server_is_in_the_doctor_names_the_check_and_goes_on(house: House) -> None:
    await migrate(house.postgres_url)
    await house.execute("DROP TABLE service.dead_letters")
    await house.execute("ALTER TABLE service.saga_agenda RENAME COLUMN due_at TO due")
    result = house("doctor", "--json")
    findings = {finding["what"]: finding for finding in result.lines}
    assert (result.code, "Traceback" in result.err) == (1, False)
    for broken, words in (("dead letters", "dead_letters"), ("sagas", "due_at")):
        assert findings[broken]["state"] == "broken"
        assert words in findings[broken]["found"]
        assert findings[broken]["advice"]
    assert findings["right CREATEROLE"]["state"] == findings["clock of postgres"]["state"] == "ok"
    assert {"leftovers", "http", "relay"} <= findings.keys()


async def test_each_right_that_the_service_lacks_is_named_with_the_statement_that_helps(
    house: House, own_stack: EmbeddedStack
) -> None:
    at = urlsplit(own_stack.endpoints.postgres_url)
    poor = at._replace(netloc=f"poor:poor@{at.hostname}:{at.port}").geturl()
    await house.execute("CREATE ROLE poor LOGIN PASSWORD 'poor'")
    await house.execute(f"GRANT CONNECT ON DATABASE {at.path.removeprefix('/')} TO poor")
    await migrate(house.postgres_url)
    _, findings = house.examined(TENANTS_POSTGRES_URL=poor)
    told = {what: each["advice"] for what, each in findings.items() if what.startswith("right")}
    assert "ALTER ROLE poor CREATEROLE;" in told["right CREATEROLE"]
    assert f"GRANT CREATE ON DATABASE {at.path.removeprefix('/')} TO poor;" in told["right CREATE"]
    assert "TO poor" in told["right to the schema service"]
    assert findings["durable commands"]["state"] == "broken"

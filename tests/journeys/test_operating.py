"""docs/operating.md: its commands work against a running service, its statements on a server."""

from __future__ import annotations

import re
import subprocess
from urllib.parse import urlsplit

import httpx
import psycopg
import pytest
from prometheus_client.parser import text_string_to_metric_families

from handlers.adapters.sweep import MEANS, Means
from handlers.adapters.walls import for_superuser
from handlers.cli.findings import rights
from handlers.store.connections import Connections
from handlers.store.migrate import migrate
from tests.journeys.conftest import CHECKOUT, Running
from tests.support.operating import PAGE, settings_table
from tests.support.servers import SharedStack
from tests.support.waiting import PATIENCE

TEXT = PAGE.read_text(encoding="utf-8")
SHELL = re.findall(r"```sh\n(.*?)```", TEXT, re.S)
(MAKING,) = re.findall(r"```sql\n(.*?)```", TEXT, re.S)


@pytest.mark.parametrize("block", SHELL)
def test_a_command_works(service: Running, block: str):
    run = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block],
        env=service.environment(),
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr


def test_the_metrics_of_all_processes_are_shown_in_development(service: Running):
    shown = httpx.get(f"{service.at.http}/metrics", timeout=PATIENCE).text
    families = {family.name: family for family in text_string_to_metric_families(shown)}
    up = {sample.labels["process"]: sample.value for sample in families["tenants_process_up"].samples}
    assert {"service", "commands-1"} <= up.keys()
    assert set(up.values()) == {1.0}
    whose = {sample.labels["process"] for family in families.values() for sample in family.samples}
    assert whose == up.keys()


def test_the_table_of_settings_is_that_of_the_program():
    assert TEXT.endswith(settings_table()), "run `python -m tests.support.operating`"


async def test_the_statements_give_all_rights_that_the_service_needs(stack: SharedStack):
    server = urlsplit(stack.admin_url)
    there = f"{server.hostname}:{server.port}/tenants_production"
    own = f"postgresql://tenants_service:change-me@{there}"
    async with await psycopg.AsyncConnection.connect(stack.admin_url, autocommit=True) as admin:
        for statement in MAKING.split(";\n"):
            if statement.strip():
                await admin.execute(statement.encode())
        try:
            await migrate(own)
            async with await psycopg.AsyncConnection.connect(
                server._replace(path="/tenants_production").geturl(), autocommit=True
            ) as inside:
                await inside.execute(for_superuser("tenants_service", "tenants_production").encode())
            pool = Connections(
                own, readers=1, statement_timeout=60, lock_timeout=10, idle_timeout=60, pool_timeout=60
            )
            await pool.open()
            found = await rights.postgres(pool)
            ((*means,),) = await pool.fetch(MEANS.encode(), ())
            await pool.close()
        finally:
            await admin.execute("DROP DATABASE IF EXISTS tenants_production WITH (FORCE)")
            await admin.execute("DROP OWNED BY tenants_service")
            await admin.execute("DROP ROLE tenants_service")
    assert [each.state for each in found] == ["ok", "ok"]
    assert Means(*means).missing() == []


def test_the_page_is_found_from_the_readme_and_names_only_files_that_are_there():
    assert "(docs/operating.md)" in (CHECKOUT / "README.md").read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#:]+)\)", TEXT):
        assert (PAGE.parent / target).exists(), target

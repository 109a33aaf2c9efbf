"""What a failed step is recorded as: it names the setting, the path or the right, and nobody."""

from pathlib import Path
from typing import LiteralString

import psycopg
import pytest

from handlers.saga_runner.failures import described


def test_a_folder_that_cannot_be_written_is_named_and_no_file_in_it(tmp_path: Path) -> None:
    tenant = "0197a3f0-1c5e-7b41-9d27-3f6e8a2b4c10"
    error = PermissionError(13, "denied", str(tmp_path / tenant / "ada-lovelace.pdf"))
    assert described(error).error == f"Permission denied: {tmp_path / tenant}."
    other = FileNotFoundError(2, "gone", str(tmp_path / "ada-lovelace.pdf"))
    assert described(other).error == f"No such file or directory: {tmp_path}."


async def test_a_right_that_the_role_lacks_is_named(store_url: str) -> None:
    async with await psycopg.AsyncConnection.connect(store_url, autocommit=True) as connection:
        await connection.execute("CREATE ROLE powerless_of_failures")
        try:
            await connection.execute("GRANT powerless_of_failures TO CURRENT_USER WITH SET TRUE")
            await connection.execute("SET ROLE powerless_of_failures")
            with pytest.raises(psycopg.errors.InsufficientPrivilege) as refused:
                await connection.execute("CREATE ROLE another_of_failures")
        finally:
            await connection.execute("RESET ROLE")
            await connection.execute("DROP ROLE powerless_of_failures")
    said = described(refused.value).error
    assert "permission denied to create role" in said
    assert "TENANTS_POSTGRES_URL" in said
    assert "doctor" in said


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("SELECT * FROM public.ada_lovelace", "permission denied for table in the tenant's schema"),
        ("DROP TABLE public.ada_lovelace", "must be owner of table in the tenant's schema"),
        ("SELECT * FROM pg_catalog.pg_authid", "permission denied for table pg_authid"),
    ],
)
async def test_another_roles_table_is_told_of_and_no_name_that_a_tenant_chose(
    store_url: str, statement: LiteralString, said: str
) -> None:
    async with await psycopg.AsyncConnection.connect(store_url) as connection:
        await connection.execute("CREATE TABLE public.ada_lovelace ()")
        await connection.execute("CREATE ROLE powerless_of_failures")
        await connection.execute("GRANT powerless_of_failures TO CURRENT_USER WITH SET TRUE")
        await connection.execute("GRANT USAGE ON SCHEMA public TO powerless_of_failures")
        await connection.execute("SET ROLE powerless_of_failures")
        with pytest.raises(psycopg.errors.InsufficientPrivilege) as refused:
            await connection.execute(statement)
        await connection.rollback()
    sentence = described(refused.value).error
    assert said in sentence
    assert "ada" not in sentence


def test_what_others_say_is_not_repeated() -> None:
    assert "ada" not in described(ValueError("ada@acme.example")).error
    assert "ada" not in described(OSError("ada@acme.example")).error

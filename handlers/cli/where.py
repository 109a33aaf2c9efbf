"""Where the servers are: where the settings say, else the stack that `tenantctl dev` runs from a folder."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

from cyclopts import Parameter
from cyclopts.validators import Number

from handlers.cli.exits import Misuse
from tenant_domain.refusals import Unauthenticated, Unavailable

if TYPE_CHECKING:
    from nats.aio.client import Client

    from handlers.adapters.keyring import Keyring
    from handlers.client import TenantClient
    from handlers.settings import Settings
    from handlers.store.errors import StoreUnavailable
    from handlers.store.event_store import EventStore

DATA_DIR = Path(".data")
ENDPOINTS = "endpoints.json"
"""Where a running stack writes its addresses, in its folder."""

REACH = 3.0
"""Seconds in which a server that is there is reached."""

PATIENCE = 10.0
"""Seconds that a person waits for an answer; scripts repeat what ended with exit code 3."""


_LONGEST = 400
"""Characters that are said of one setting: a wrong value may have any length."""

Limit = Annotated[int, Parameter(validator=Number(gte=0))]
"""Most items to list; 0 is all."""


@Parameter(name="*")
@dataclass(frozen=True)
class Common:
    """What every command takes."""

    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False
    """Print JSON lines instead of tables."""

    data_dir: Path = DATA_DIR
    """Folder of the `tenantctl dev` to talk to, where no setting names the servers."""


@Parameter(name="*")
@dataclass(frozen=True)
class Asking(Common):
    """What every command to a tenant takes."""

    command_id: UUID | None = None
    """A UUID of yours that makes it safe to repeat; made up by default."""

    expected_version: int | None = None
    """Refuse unless the tenant is at this version."""

    wait: Annotated[bool, Parameter(negative="")] = False
    """Wait until the operation that goes on with it has ended; exit code 1 when it failed."""


def given_settings() -> Settings:
    """Return the settings as they are given. Raises Misuse naming every variable that does not fit."""
    from pydantic import ValidationError

    from handlers.settings import NoSettingsFile, load

    try:
        return load()
    except NoSettingsFile as error:
        raise Misuse(str(error)) from None
    except ValidationError as error:
        wrong = [
            (f"TENANTS_{'.'.join(map(str, each['loc'])).upper()[:100]}: " if each["loc"] else "")
            + each["msg"].removeprefix("Value error, ")[:_LONGEST]
            for each in error.errors()
        ]
        raise Misuse(f"settings do not fit: {'; '.join(wrong)}") from None


def settings(common: Common) -> Settings:
    """Return the settings, completed by what the running development stack says. Raises Misuse."""
    from pydantic import SecretStr

    from handlers import logs

    logs.configure("error", "console")  # standard output is for what was asked
    logging.getLogger("psycopg").setLevel(logging.CRITICAL)  # what it warns of is raised as well
    found = _endpoints(common.data_dir)
    present = given_settings()
    told: dict[str, object] = {
        f"{name}_url": SecretStr(found[name])
        for name in ("nats", "postgres")
        if name in found and f"{name}_url" not in present.model_fields_set
    }
    objects = common.data_dir / "objects"
    if found and objects.exists() and "objects_url" not in present.model_fields_set:
        told["objects_url"] = f"file:{objects}"
    for name, file in (
        ("signing_key_file", "signing.pem"),
        ("certificate_key_file", "certificates.pem"),
        ("master_key_file", "master.key"),
    ):
        key = common.data_dir / "keys" / file
        if getattr(present, name) is None and key.exists():
            told[name] = key
    return present.model_copy(update=told)


def http_url(common: Common) -> str | None:
    """Return where the HTTP edge of the development stack is, if one runs."""
    return _endpoints(common.data_dir).get("http")


@asynccontextmanager
async def bus(common: Common) -> AsyncGenerator[Client]:
    """Give a connection to NATS. Raises Unreachable, saying where it looked."""
    from nats.errors import Error as NatsError

    from handlers.cli.unreachable import Unreachable
    from handlers.client.connecting import connected as connection_to

    chosen = settings(common)
    where = ", ".join(map(_public, chosen.nats_servers))
    try:
        nc = await connection_to(chosen.nats_servers, REACH, {"name": "tenantctl"})
    except Unauthenticated:
        found = f"The NATS server at {where} does not know these credentials."
        raise Unreachable(found, f"Correct user and password in {source(common, 'nats')}.") from None
    except (Unavailable, OSError, NatsError) as error:
        found = f"No NATS answers at {where} within {REACH:g} s."
        raise Unreachable(found, _starting(common, "nats")) from error
    try:
        yield nc
    finally:
        await nc.close()


@asynccontextmanager
async def connected(common: Common) -> AsyncGenerator[TenantClient]:
    """Give a client of the service. Raises Unavailable, saying where it looked."""
    from handlers.client import TenantClient

    async with bus(common) as nc:
        yield TenantClient(nc, prefix=settings(common).subject_prefix, timeout=PATIENCE)


@asynccontextmanager
async def store(common: Common) -> AsyncGenerator[EventStore]:
    """Give the event store. Raises Unavailable where there is no database, and says where it should be."""
    from handlers.store.errors import StoreUnavailable
    from handlers.store.event_store import EventStore

    url = settings(common).postgres_url.get_secret_value()
    async with EventStore(url, readers=2, pool_timeout=REACH) as opened:
        try:
            yield opened
        except StoreUnavailable as error:
            raise await explained(common, error) from error


async def explained(common: Common, error: StoreUnavailable) -> Exception:
    """Return what a person is told of `error`: where the database should be, and why it is not reached.

    A pool of connections only says that it has none.
    """
    import psycopg

    from handlers.cli.unreachable import Unreachable, advice_for

    chosen = settings(common)
    url = chosen.postgres_url.get_secret_value()
    try:
        async with asyncio.timeout(REACH):
            connection = await psycopg.AsyncConnection.connect(url)
        await connection.close()
    except psycopg.OperationalError as reason:
        why = " ".join(str(reason).split()).rstrip(".?")
    except (psycopg.Error, TimeoutError) as reason:  # what others say of a URL may tell its password
        why = "no answer" if isinstance(reason, TimeoutError) else "that is not a URL of PostgreSQL"
    else:
        return error
    advice = advice_for(why, source(common, "postgres"), _starting(common, "postgres"))
    return Unreachable(f"PostgreSQL cannot be used at {_public(url)}: {why}.", advice)


def keyring(common: Common, opened: EventStore) -> Keyring:
    """Return the keyring over a store. Raises Unavailable where there is no master key to open it with."""
    from handlers.adapters.keyring import Keyring
    from handlers.adapters.keys import MasterKeyError, load_master_key

    try:
        key = load_master_key(settings(common).master_key_file or Path("master.key"), create=False)
    except MasterKeyError as error:
        raise Unavailable(f"Personal data is sealed. {error}") from None
    return Keyring(opened.tenant_keys, key)


def _endpoints(data_dir: Path) -> dict[str, str]:
    """Return where a running stack is; nothing when none runs, or the settings say it all."""
    try:
        return json.loads((data_dir / ENDPOINTS).read_text())
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (PermissionError, json.JSONDecodeError) as error:
        raise Misuse(f"{data_dir / ENDPOINTS} cannot be read: {error}") from None


def source(common: Common, server: str) -> str:
    """Return what says where `server` (nats, postgres) is: a variable, or the file of a running stack."""
    variable = f"TENANTS_{server.upper()}_URL"
    if f"{server}_url" in given_settings().model_fields_set:
        return variable
    if server in _endpoints(common.data_dir):
        return str(common.data_dir / ENDPOINTS)
    return f"{variable} (its default)"


def _starting(common: Common, server: str) -> str:
    """Return what to do where nothing answers: by whether a setting, a running stack or nothing named it."""
    variable = f"TENANTS_{server.upper()}_URL"
    match source(common, server):
        case said if said == variable:
            return f"Start it, or correct {variable}."
        case said if said.endswith(ENDPOINTS):
            return f"Start `tenantctl dev` again, which wrote {said}, or set {variable}."
        case _:
            return f"Start `tenantctl dev`, name its folder with --data-dir, or set {variable}."


def _public(url: str) -> str:
    """Return a URL without its credentials."""
    from handlers.logs import without_credentials

    return without_credentials(url)

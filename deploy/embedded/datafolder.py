"""The data folder: whose it is, what it holds, and what it remembers between starts."""

import contextlib
import fcntl
import json
import os
import secrets
import stat
import time
from collections.abc import Generator, Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from deploy.embedded import account as accounts
from deploy.embedded import ports
from deploy.embedded.account import Account
from deploy.embedded.errors import EmbeddedError, PortTakenError

HEIRS = 5.0
"""Seconds that a lock outlives its holder at most: a child that was just being made shares it until it
becomes another program."""

LONGEST_PATH = 900  # bytes; PostgreSQL cuts paths at 1,024 and adds its own file names


@dataclass(frozen=True, slots=True)
class Memory:
    """What a folder remembers: ports and passwords, and whether its database is ready for use."""

    nats_port: int
    postgres_port: int
    nats_password: str = field(repr=False)
    nats_system_password: str = field(repr=False)
    postgres_password: str = field(repr=False)
    postgres_admin_password: str = field(repr=False)
    prepared: bool = False

    @classmethod
    def new(cls) -> "Memory":
        """Return fresh passwords and no ports."""
        nats, nats_system, postgres, postgres_admin = (secrets.token_urlsafe(24) for _ in range(4))
        return cls(0, 0, nats, nats_system, postgres, postgres_admin)


class DataFolder:
    """One data folder: `acquire` it before all else, `release` it when nothing of it runs any more."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.nats = self.root / "nats"
        self.postgres = self.root / "postgres"
        self.logs = self.root / "logs"
        self._memory_file = self.root / "embedded.json"
        self._lock_file = self.root / "embedded.lock"
        self._lock: int | None = None

    def acquire(self) -> None:
        """Make the folder if need be and lock it.

        Raises EmbeddedError when another process holds it, or when it cannot be used.
        """
        if len(os.fsencode(self.root)) > LONGEST_PATH:
            raise EmbeddedError(f"{self.root} is too long a path: at most {LONGEST_PATH} bytes, please")
        with _explained(self.root):
            make_folders(self.root)
            self._take_lock()

    def release(self) -> None:
        """Let the next supervisor have the folder."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _take_lock(self) -> None:
        lock = os.open(self._lock_file, os.O_RDWR | os.O_CREAT, 0o600)
        give_up = time.monotonic() + HEIRS
        while not _locked(lock):
            holder = os.pread(lock, 20, 0).decode().strip()
            if not holder or _lives(int(holder)) or time.monotonic() > give_up:
                os.close(lock)
                raise EmbeddedError(
                    f"{self.root} is in use by process {holder or 'that is just starting'}: "
                    f"stop that one, or choose another data folder"
                )
            time.sleep(0.01)
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        self._lock = lock

    def furnish(self, programs: Iterable[Path]) -> Account | None:
        """Make the folders of the servers, and return the account that runs the programs on them.

        Raises EmbeddedError when no suitable account can enter them.
        """
        with _explained(self.root):
            for folder in (self.logs, self.nats, self.postgres):
                folder.mkdir(mode=0o700, exist_ok=True)
            status = self.root.stat()
            if os.geteuid() == 0 == status.st_uid:
                # The data folder itself was given to us, to let the servers in; what lies above it was not.
                self.root.chmod(stat.S_IMODE(status.st_mode) | stat.S_IXOTH)
            account = accounts.for_servers(self.postgres, [program.parent for program in programs])
            if account:
                for folder in (self.nats, self.postgres):
                    os.chown(folder, account.uid, account.gid)
        return account

    def remember(self) -> Memory:
        """Return what the folder remembers, or a new memory for a new folder; reads a file.

        Raises EmbeddedError when the folder holds a database whose passwords are lost.
        """
        if not self._memory_file.exists():
            if (self.postgres / "data").exists():
                raise EmbeddedError(
                    f"{self.root} holds a database, but {self._memory_file.name} with its passwords is gone: "
                    f"put that file back, or choose another data folder"
                )
            return Memory.new()
        with _explained(self.root):
            text = self._memory_file.read_text()
        try:
            content: dict[str, Any] = json.loads(text)
            return Memory(**content)
        except (ValueError, TypeError) as error:
            raise EmbeddedError(
                f"{self._memory_file} is damaged ({type(error).__name__}): put a copy of it back, "
                f"or choose another data folder"
            ) from None

    def keep(self, memory: Memory) -> None:
        """Write the memory so that it survives a crash at any point; readable by this user alone."""
        fresh = self._memory_file.with_suffix(".new")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump(asdict(memory), file, indent=2)
            if os.geteuid() == 0:
                # Root at work on another user's folder must not shut that user out of it.
                os.fchown(descriptor, self.root.stat().st_uid, self.root.stat().st_gid)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._memory_file)
        sync_folder(self.root)


@contextlib.contextmanager
def _explained(folder: Path) -> Generator[None]:
    try:
        yield
    except OSError as error:
        raise EmbeddedError(
            f"cannot use {error.filename or folder} for the embedded servers: {error.strerror}; "
            f"choose a data folder that this user may write to"
        ) from error


def _locked(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        return True
    return True


def with_ports(memory: Memory, nats_port: int, postgres_port: int) -> Memory:
    """Return the memory with the ports of this start: the wished, else the remembered, else free ones.

    Raises PortTakenError for a wished or remembered port that another process listens on.
    """
    wished = {"nats": nats_port or memory.nats_port, "postgres": postgres_port or memory.postgres_port}
    for name, port in wished.items():
        if port and not ports.is_free(port):
            raise PortTakenError(name, port)
    chosen: dict[str, int] = {}
    for name, port in wished.items():
        while not port or port in chosen.values():
            if port and wished[name]:
                raise EmbeddedError(f"nats and postgres cannot share port {port}: choose two")
            port = ports.choose()
        chosen[name] = port
    return replace(memory, nats_port=chosen["nats"], postgres_port=chosen["postgres"])


def make_folders(folder: Path) -> None:
    """Create a folder and the missing ones above it, all but itself open to pass through.

    Folders that are already there keep their modes.
    """
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    for place in reversed(missing):
        place.mkdir(exist_ok=True)
        place.chmod(0o700 if place == folder else 0o755)


def sync_folder(folder: Path) -> None:
    """Make a rename inside the folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

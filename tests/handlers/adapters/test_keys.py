"""The master key and what derives from it."""

from __future__ import annotations

import base64
import hashlib
import hmac
import stat
from pathlib import Path
from uuid import UUID

import pytest

from handlers.adapters.keys import MasterKey, MasterKeyError, load_master_key

ONE, TWO = UUID(int=1), UUID(int=2)


def test_a_missing_key_is_made_for_its_owner_alone_and_found_again(tmp_path: Path):
    file = tmp_path / "keys" / "master.key"
    made = load_master_key(file, create=True)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert len(bytes.fromhex(file.read_text())) == 32
    again = load_master_key(file, create=True)
    assert again.database_password(ONE) == made.database_password(ONE)
    assert list(file.parent.iterdir()) == [file]


def test_a_missing_key_is_an_error_where_none_may_be_made(tmp_path: Path):
    with pytest.raises(MasterKeyError, match="no master key file"):
        load_master_key(tmp_path / "master.key", create=False)
    assert not (tmp_path / "master.key").exists()


@pytest.mark.parametrize("content", ["", "not hex", "abcd", "00" * 33])
def test_what_is_no_key_is_refused_without_showing_it(tmp_path: Path, content: str):
    file = tmp_path / "master.key"
    file.write_text(content)
    with pytest.raises(MasterKeyError) as refused:
        load_master_key(file, create=True)
    assert not content or content not in str(refused.value)


def test_what_derives_is_the_same_again_and_differs_by_tenant_purpose_and_key():
    key = MasterKey(b"a" * 32)
    derived = {
        key.derive("one", ONE),
        key.derive("one", TWO),
        key.derive("two", ONE),
        MasterKey(b"b" * 32).derive("one", ONE),
    }
    assert len(derived) == 4
    assert key.derive("one", ONE) in derived
    assert "a" * 32 not in repr(key)


def test_what_marks_a_command_is_guessed_by_nobody_without_the_key():
    one, other = MasterKey(b"a" * 32), MasterKey(b"b" * 32)
    assert one.fingerprint(b"digest") == one.fingerprint(b"digest")
    assert len({one.fingerprint(b"digest"), other.fingerprint(b"digest"), one.fingerprint(b"other")}) == 3


def test_the_verifier_is_that_of_the_password():
    key = MasterKey(b"a" * 32)
    iterations, _, rest = key.scram_verifier(ONE).removeprefix("SCRAM-SHA-256$").partition(":")
    salt, stored, server = map(base64.b64decode, rest.replace("$", ":").split(":"))
    salted = hashlib.pbkdf2_hmac("sha256", key.database_password(ONE).encode(), salt, int(iterations))
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    assert stored == hashlib.sha256(client_key).digest()
    assert server == hmac.digest(salted, b"Server Key", "sha256")
    assert int(iterations) >= 4096

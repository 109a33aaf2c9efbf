"""A certificate is what was signed, byte for byte, and anybody can check that."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from joserfc.jwk import OKPKey

from handlers.adapters.certificates import CertificateKey, NotValid, verified
from handlers.adapters.key_files import KeyFileError, private_key, public_keys
from handlers.bootstrap.adapters import certificate_key
from handlers.settings import Settings

CONTENT = {"certificate_id": "c-1", "stores": [{"store": "objects", "count": 3, "verified": True}], "by": "ü"}


@pytest.fixture
def pem(tmp_path: Path) -> Path:
    private_key(tmp_path / "key.pem", create=True)
    return tmp_path / "key.pem"


def test_a_certificate_is_checked_by_its_private_or_public_key_or_a_key_set(pem: Path, tmp_path: Path):
    key = CertificateKey(private_key(pem))
    document = key.signed(CONTENT)
    (public,) = public_keys(pem).values()
    (tmp_path / "public.pem").write_bytes(
        public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    others = OKPKey.generate_key("Ed25519").as_dict(private=False)
    (tmp_path / "keys.json").write_text(json.dumps({"keys": [others, key.jwk()]}))
    for file in ("key.pem", "public.pem", "keys.json"):
        said = verified(document, public_keys(tmp_path / file))
        assert {name: said[name] for name in CONTENT} == CONTENT
        assert said["key_id"] == key.key_id


def test_any_changed_byte_is_found(pem: Path):
    document = CertificateKey(private_key(pem)).signed(CONTENT)
    keys = public_keys(pem)
    for place in range(len(document)):
        for flip in (1, 0x20):
            changed = bytearray(document)
            changed[place] ^= flip
            with pytest.raises(NotValid):
                verified(bytes(changed), keys)
    for changed in (document[:-1], document + b" ", document.replace(b",", b", ", 1), b"", b"[]", b"{}"):
        with pytest.raises(NotValid):
            verified(changed, keys)


def test_a_certificate_of_another_key_is_not_taken(pem: Path, tmp_path: Path):
    document = CertificateKey(private_key(tmp_path / "other.pem", create=True)).signed(CONTENT)
    with pytest.raises(NotValid, match="another key"):
        verified(document, public_keys(pem))


@pytest.mark.parametrize("content", ["", "{}", '{"keys": []}', "-----BEGIN PUBLIC KEY-----"])
def test_a_file_without_a_key_says_so(content: str, tmp_path: Path):
    (tmp_path / "key").write_text(content)
    with pytest.raises(KeyFileError, match="no Ed25519 key"):
        public_keys(tmp_path / "key")


def test_a_key_that_is_not_there_is_told_of_with_the_setting_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="TENANTS_CERTIFICATE_KEY_FILE: there is no key at"):
        certificate_key(Settings.model_validate({"certificate_key_file": tmp_path / "none.pem"}))

"""Tokens: who they speak for, and what is no token."""

import base64
import hmac
import json
import stat
import threading
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from joserfc import jwt
from joserfc.jwk import ECKey, OKPKey

from handlers.adapters.key_files import KeyFileError
from handlers.http_edge.tokens import LEEWAY, Caller, Signer
from tenant_domain.refusals import Unauthenticated

TENANT = "0197a3f0-1c5e-7b41-9d27-3f6e8a2b4c10"
NOW = 1_800_000_000.0
KEY = OKPKey.generate_key("Ed25519")


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def signer(clock: Clock) -> Signer:
    return Signer(KEY, now=clock)


def part(content: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")


def forged(header: dict[str, Any], claims: dict[str, Any], signature: bytes = b"") -> str:
    return f"{part(header)}.{part(claims)}.{base64.urlsafe_b64encode(signature).decode().rstrip('=')}"


CLAIMS = {"sub": "ada", "role": "operator", "iss": "tenants", "aud": "tenants", "exp": NOW + 60}


def signed(signer: Signer, key: OKPKey = KEY, **changes: Any) -> str:
    """A token with whatever claims, signed by the right key unless told otherwise."""
    claims = {name: value for name, value in {**CLAIMS, **changes}.items() if value is not ...}
    body = f"{part({'alg': 'EdDSA', 'typ': 'JWT'})}.{part(claims)}"
    private = key.private_key
    assert isinstance(private, Ed25519PrivateKey)
    return f"{body}.{base64.urlsafe_b64encode(private.sign(body.encode())).decode().rstrip('=')}"


def test_a_token_speaks_for_its_user(signer: Signer) -> None:
    token = signer.sign(user="ada", role="admin", tenant=TENANT)
    assert signer.caller(token) == Caller("ada", TENANT, "admin")
    assert signer.caller(signer.sign(user="ops", role="operator")) == Caller("ops", None, "operator")


def test_the_forged_tokens_here_would_be_taken_if_they_were_right(signer: Signer) -> None:
    assert signer.caller(signed(signer)) == Caller("ada", None, "operator")
    assert signer.caller(signed(signer, aud=["others", "tenants"])).subject == "ada"


def test_a_token_ends(signer: Signer, clock: Clock) -> None:
    token = signer.sign(user="ada", role="operator", lifetime=60)
    clock.now += 60 + LEEWAY - 1
    assert signer.caller(token).subject == "ada"
    clock.now += 1
    with pytest.raises(Unauthenticated):
        signer.caller(token)


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "others"},
        {"iss": ...},
        {"aud": "others"},
        {"aud": ["others"]},
        {"aud": ...},
        {"aud": {"tenants": 1}},
        {"exp": ...},
        {"exp": "2100-01-01"},
        {"exp": True},
        {"exp": NOW - 60},
        {"exp": float("nan")},
        {"nbf": NOW + 60},
        {"nbf": "soon"},
        {"sub": ...},
        {"sub": ""},
        {"sub": 7},
        {"role": ...},
        {"role": ["operator"]},
        {"tenant": "fleet"},
        {"tenant": ""},
        {"tenant": 7},
        {"tenant": TENANT.upper()},
        {"tenant": [TENANT]},
    ],
)
def test_claims_that_do_not_fit_are_refused_though_they_are_signed(
    signer: Signer, changes: dict[str, Any]
) -> None:
    with pytest.raises(Unauthenticated):
        signer.caller(signed(signer, **changes))


def test_another_key_signs_nothing(signer: Signer) -> None:
    with pytest.raises(Unauthenticated):
        signer.caller(signed(signer, OKPKey.generate_key("Ed25519")))


def test_a_changed_token_is_refused_wherever_it_was_changed(signer: Signer) -> None:
    token = signer.sign(user="ada", role="viewer", tenant=TENANT)
    head, claims, signature = token.split(".")
    raised = json.loads(base64.urlsafe_b64decode(claims + "==")) | {"role": "operator"}
    other = "A" if signature[0] != "A" else "B"
    for changed in (f"{head}.{part(raised)}.{signature}", f"{head}.{claims}.{other}{signature[1:]}"):
        with pytest.raises(Unauthenticated):
            signer.caller(changed)


@pytest.mark.parametrize("alg", ["none", "None", "NONE", "", "eddsa", "HS256", "RS256", "ES256", None, 7])
def test_the_token_does_not_choose_the_algorithm(signer: Signer, alg: Any) -> None:
    """The classical attacks: no signature, and the public key as the secret of an HMAC."""
    with pytest.raises(Unauthenticated):
        signer.caller(forged({"alg": alg, "typ": "JWT"}, CLAIMS))
    with pytest.raises(Unauthenticated):
        signer.caller(forged({"alg": alg}, CLAIMS, b"x" * 64))


def test_the_public_key_is_no_secret_to_sign_with(signer: Signer) -> None:
    secrets = (KEY.as_pem(private=False), str(signer.jwks()["keys"][0]["x"]).encode())
    for secret in secrets:
        body = f"{part({'alg': 'HS256'})}.{part(CLAIMS)}"
        mac = base64.urlsafe_b64encode(hmac.digest(secret, body.encode(), "sha256")).decode().rstrip("=")
        token = f"{body}.{mac}"
        with pytest.raises(Unauthenticated):
            signer.caller(token)


def test_a_key_inside_the_token_is_not_believed(signer: Signer) -> None:
    mine = ECKey.generate_key("P-256")
    header = {"alg": "ES256", "jwk": mine.as_dict(private=False), "jku": "http://evil.example/jwks.json"}
    with pytest.raises(Unauthenticated):
        signer.caller(jwt.encode(header, CLAIMS, mine, algorithms=["ES256"]))


@pytest.mark.parametrize(
    "garbage",
    [
        "",
        ".",
        "..",
        "...",
        "a.b.c",
        "é.é.é",
        "null",
        "{}",
        "x" * 100_000,
        part({"a": 1}) * 3,
        "\x00",
        "a" * 4097,
    ],
)
def test_garbage_is_refused(signer: Signer, garbage: str) -> None:
    with pytest.raises(Unauthenticated):
        signer.caller(garbage)


def test_a_refusal_does_not_say_what_was_wrong(signer: Signer) -> None:
    details: set[str] = set()
    for bad in (signed(signer, exp=1), signed(signer, iss="x"), "garbage", forged({"alg": "none"}, CLAIMS)):
        with pytest.raises(Unauthenticated) as refused:
            signer.caller(bad)
        details.add(refused.value.detail)
    assert len(details) == 1


def test_the_key_set_has_the_public_half_alone(signer: Signer) -> None:
    (key,) = signer.jwks()["keys"]
    assert {key["kty"], key["crv"], key["alg"], key["use"]} == {"OKP", "Ed25519", "EdDSA", "sig"}
    assert "d" not in key
    header = json.loads(base64.urlsafe_b64decode(signer.sign(user="a", role="operator").split(".")[0] + "=="))
    assert header == {"alg": "EdDSA", "kid": key["kid"], "typ": "JWT"}


@pytest.mark.parametrize(
    "who",
    [
        {"user": "ada", "role": "admin"},
        {"user": "", "role": "operator"},
        {"user": "ada", "role": "admin", "tenant": "acme"},
        {"user": "ada", "role": "", "tenant": TENANT},
    ],
)
def test_no_token_is_signed_for_nobody(signer: Signer, who: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"tenant|user"):
        signer.sign(**who)  # pyright: ignore[reportArgumentType]


def test_a_missing_key_is_made_where_that_is_allowed(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "signing.pem"
    token = Signer.from_file(path, create=True).sign(user="ada", role="operator")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [file.name for file in path.parent.iterdir()] == ["signing.pem"]
    assert Signer.from_file(path).caller(token).subject == "ada"


def test_processes_that_make_the_key_at_once_agree(tmp_path: Path) -> None:
    path = tmp_path / "signing.pem"
    signers: list[Signer] = []
    start = threading.Barrier(8)

    def make() -> None:
        start.wait()
        signers.append(Signer.from_file(path, create=True))

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({str(signer.jwks()) for signer in signers}) == 1
    assert len(signers) == 8


def pem(key: Any) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def test_a_key_file_that_is_none_says_what_to_do(tmp_path: Path) -> None:
    missing = tmp_path / "missing.pem"
    with pytest.raises(KeyFileError, match="openssl genpkey"):
        Signer.from_file(missing)
    public = OKPKey.import_key(pem(Ed25519PrivateKey.generate())).as_pem(private=False)
    for content in (b"", b"garbage", pem(X25519PrivateKey.generate()), public):
        missing.write_bytes(content)
        with pytest.raises(KeyFileError, match="not an Ed25519 private key"):
            Signer.from_file(missing)
    with pytest.raises(KeyFileError, match="cannot be read"):
        Signer.from_file(tmp_path)

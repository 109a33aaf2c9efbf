"""What buckets on S3 make of answers, and as whom they ask: a server that says what it is told to."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from uuid import UUID, uuid4

import obstore
import pytest

from handlers.adapters.effects import EffectFailed, PermanentlyFailed
from handlers.adapters.objects import Buckets, buckets


class Told(BaseHTTPRequestHandler):
    """Answers as its server is told, and remembers who asked for what."""

    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        server = self.server
        assert isinstance(server, Server)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        server.asked.append((self.command, self.path, self.headers, body))
        server.arrived.set()
        server.go_on.wait()
        told = server.answers.get(self.command, [(200, "")])
        status, text = told.pop(0) if len(told) > 1 else told[0]
        server.answered.append(self.command)  # before whoever waits can know of it
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.send_header("ETag", '"0"')
        self.end_headers()
        self.wfile.write(text.encode())

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = answer  # noqa: N815 - the library's names

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


class Server(ThreadingHTTPServer):
    """Answers 200, or one of `answers[method]` (status, body) after the other, once it may `go_on`."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Told)
        self.asked: list[tuple[str, str, Message, bytes]] = []
        self.answered: list[str] = []
        self.answers: dict[str, list[tuple[int, str]]] = {}
        self.arrived, self.go_on = threading.Event(), threading.Event()
        self.go_on.set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def paths(self) -> list[tuple[str, str]]:
        """The method and path of each request."""
        return [(method, path) for method, path, _, _ in self.asked]

    def users(self) -> list[str]:
        """Whose keys signed each request."""
        found = (
            re.search("Credential=([^/]+)/", headers["Authorization"]) for _, _, headers, _ in self.asked
        )
        return [match[1] for match in found if match]


def error(code: str, more: str = "") -> str:
    return f"<Error><Code>{code}</Code>{more}</Error>"


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
async def store(server: Server) -> AsyncIterator[Buckets]:
    made = buckets(f"s3://acme?endpoint={server.url}", "an id", "a secret")
    yield made
    await made.close()


async def test_a_bucket_of_somebody_else_is_never_taken(store: Buckets, server: Server):
    server.answers["PUT"] = [(409, error("BucketAlreadyExists")), (409, error("BucketAlreadyOwnedByYou"))]
    tenant = uuid4()
    with pytest.raises(PermanentlyFailed):
        await store.create(tenant)
    await store.create(tenant)


async def test_an_answer_that_says_nothing_of_a_bucket_is_none(store: Buckets, server: Server):
    server.answers["HEAD"] = [(500, "")]
    with pytest.raises(EffectFailed, match="500"):
        await store.exists(uuid4())


async def test_a_request_is_made_once_and_its_failure_tells_no_more_than_a_code(
    store: Buckets, server: Server, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    text = error("SignatureDoesNotMatch", "<Message>an id signed</Message>")
    server.answers["PUT"] = [(403, text), (503, text)]
    for status in (403, 503):
        with pytest.raises(EffectFailed) as failed:
            await store.create(uuid4())
        said = "The object store answered {} (SignatureDoesNotMatch) to create_bucket."
        assert str(failed.value) == said.format(status)
        assert (failed.value.__cause__, failed.value.__suppress_context__) == (None, True)
    assert len(server.asked) == 2


async def test_a_server_that_is_not_there_is_a_failure_to_be_tried_again():
    store = buckets("s3://acme?endpoint=http://127.0.0.1:1", "an id", "a secret")
    with pytest.raises(EffectFailed, match=r"could not be asked \(EndpointConnectionError\)") as failed:
        await store.create(uuid4())
    assert not isinstance(failed.value, PermanentlyFailed)
    await store.close()


async def test_who_is_cancelled_waits_for_the_answer(store: Buckets, server: Server):
    server.go_on.clear()
    creating = asyncio.create_task(store.create(uuid4()))
    await asyncio.to_thread(server.arrived.wait)
    creating.cancel()
    assert await asyncio.wait({creating}, timeout=0.05) == (set(), {creating})
    server.go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await creating
    assert server.answered == ["PUT"]


async def test_all_pages_of_buckets_are_listed(store: Buckets, server: Server):
    first, second = UUID(int=1), UUID(int=2)
    page = "<R><Buckets><Bucket><Name>acme-t-{}</Name></Bucket></Buckets>{}</R>"
    token = "<ContinuationToken>a+b</ContinuationToken>"
    server.answers["GET"] = [(200, page.format(first.hex, token)), (200, page.format(second.hex, ""))]
    assert await store.tenants() == [first, second]
    assert "continuation-token=a%2Bb" in server.asked[1][1]


async def test_what_a_bucket_keeps_goes_page_by_page(store: Buckets, server: Server):
    page = "<R><{0}><Key>{1}</Key>{2}</{0}><IsTruncated>{3}</IsTruncated><EncodingType>url</EncodingType></R>"
    versions = [page.format("Version", key, "<VersionId>v</VersionId>", more) for key, more in PAGES]
    uploads = [page.format("Upload", key, "<UploadId>u</UploadId>", more) for key, more in PAGES]
    server.answers = {
        "GET": [(200, text) for text in ("<R/>", *uploads, *versions)],
        "DELETE": [(409, error("BucketNotEmpty")), (204, "")],
        "POST": [(200, "<R/>")],
    }
    await store.remove(uuid4())
    aborted = [
        path.partition("/")[2] for method, path in server.paths() if method == "DELETE" and "?" in path
    ]
    assert [path.partition("/")[2] for path in aborted] == ["a%20%26?uploadId=u", "b?uploadId=u"]
    deleting = [(headers, body) for method, _, headers, body in server.asked if method == "POST"]
    assert [re.findall(b"<Key>(.*?)</Key>", body) for _, body in deleting] == [[b"a &amp;"], [b"b"]]
    # botocore sends a newer checksum, which servers other than Amazon's may not know
    assert all(headers["Content-MD5"] for headers, _ in deleting)


PAGES = (("a%20%26", "true"), ("b", "false"))
"""Keys as they are listed, and whether there are more."""


async def test_both_halves_act_as_the_user_of_the_profile(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "keys").write_text("[tenants]\naws_access_key_id = chosen\naws_secret_access_key = hidden\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "keys"))
    monkeypatch.setenv("AWS_PROFILE", "tenants")
    store = buckets(f"s3://acme?endpoint={server.url}")
    tenant = uuid4()
    await store.create(tenant)
    await obstore.put_async(store.open(tenant), "a", b"x")
    assert server.users() == ["chosen", "chosen"]
    await store.close()


def test_who_has_no_s3_does_not_pay_for_its_library():
    said = "import sys, handlers.adapters.objects; sys.exit('botocore' in sys.modules)"
    subprocess.run([sys.executable, "-c", said], check=True)

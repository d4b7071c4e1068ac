"""A guest asks partners by HTTP: those that are named and granted, within limits, and no others."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from aegis.core.errors import ComponentError, GrantError, GuestError, PortTimeoutError
from aegis.core.flow import StepState
from aegis.testing import memory_host
from tests.wasm.asking import ask
from tests.wasm.partner import Server, request
from tests.wasm.test_capabilities import probe, told


def fetching(*requests: str, origins: tuple[str, ...], **more: Any) -> Any:
    """A component whose command `go` makes these requests, one after the other."""
    pieces: list[Any] = ["["]
    for n, one in enumerate(requests):
        pieces += ["," if n else "", ask("http.fetch", one)]
    return probe({"go": (*pieces, "]")}, http=list(origins), room=2 << 20, **more)


async def fetched(partner: Server, *requests: str, origins: tuple[str, ...] = ()) -> Any:
    """What a guest is answered that may ask the partner."""
    origins = (partner.address, *origins)
    async with memory_host() as host:
        await host.deploy(
            fetching(*requests, origins=origins), grants=[f"host.http={one}" for one in origins]
        )
        return await told(host, "go")


async def test_a_request_is_sent_as_it_is_said_and_nothing_is_remembered(partner: Server) -> None:
    url = f"{partner.address}/echo/%2e?q=1#part"
    sent = request(url, method="POST", headers={"X-Key": "k", "User-Agent": "me"}, body="zoé")
    first, _ = await fetched(partner, sent, request(url.upper().replace("ECHO", "echo")))
    assert (first["status"], first["body"], first["headers"]["x-left"]) == (201, "zoé", "3")
    (method, path, headers, body), (again, _, plain, _) = partner.asked
    assert (method, path, body, again) == ("POST", "/echo/%2e?q=1", "zoé", "GET")
    assert headers == {
        "Host": partner.address[7:],
        "Accept-Encoding": "identity",
        "User-Agent": "me",
        "X-Key": "k",
        "Content-Length": "4",
    }
    assert plain == {
        "Host": partner.address[7:],
        "Accept-Encoding": "identity",
        "User-Agent": "aegis",
    }


async def test_no_proxy_of_the_environment_is_asked(
    partner: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    (answer,) = await fetched(partner, request(f"{partner.address}/latin"))
    assert answer["body"] == "é"


async def test_a_redirect_is_told_and_not_followed(partner: Server) -> None:
    (answer,) = await fetched(partner, request(f"{partner.address}/moved"))
    assert (answer["status"], answer["headers"]["location"]) == (302, f"{partner.address}/echo")
    assert len(partner.asked) == 1


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("bytes", "answers what is no text"),
        ("packed", "packs its answer"),
        ("huge", "answers with more than 1,048,576 bytes"),
        ("broken", "cannot be asked: peer closed connection"),
    ],
)
async def test_what_cannot_be_taken_is_told(partner: Server, path: str, words: str) -> None:
    with pytest.raises(GuestError, match=words):
        await fetched(partner, request(f"{partner.address}/{path}"))
    assert partner.sent < 64 << 20


async def test_as_much_as_may_be_sent_either_way_is_sent(partner: Server) -> None:
    origin = partner.address
    most = request(f"{origin}/echo", method="POST", body="x" * (1000 << 10))
    asked = (ask("http.fetch", one, quietly=True) for one in (most, request(f"{origin}/most")))
    asks = probe({"go": (*asked, "1")}, http=[origin], room=2 << 20)
    async with memory_host() as host:
        await host.deploy(asks, grants=[f"host.http={origin}"])
        assert await told(host, "go") == 1
    assert len(partner.asked[0][3]) == 1000 << 10


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"url": "{0}/echo", "method": "CONNECT"}, "'CONNECT' is no method"),
        ({"url": "{0}/echo", "method": "post"}, "'post' is no method"),
        ({"url": "{0}/echo", "headers": {"Host": "x"}}, "the header 'Host' is the host's to say"),
        ({"url": "{0}/echo", "headers": {"Proxy-X": "x"}}, "is the host's to say"),
        ({"url": "{0}/echo", "headers": {"content-LENGTH": "1"}}, "is the host's to say"),
        ({"url": "{0}/echo", "headers": {"X": "a\r\nY: b"}}, "'X' cannot be sent as it is"),
        ({"url": "{0}/echo", "headers": {"X Y": "a"}}, "'X Y' cannot be sent as it is"),
        ({"url": "{0}/echo", "headers": {"X": "a" * (17 << 10)}}, "headers have 16,384 bytes"),
        ({"url": "{0}/echo", "body": "\u00e9" * (500 << 10)}, "it gave a text of"),
        ({"url": "{0}/" + "x" * 8192}, "a URL has 8,192 characters at most"),
        ({"url": "{0}/echo", "follow": True}, "this is no request"),
        ({"url": 1}, "this is no request"),
        ({"url": "https://other.example"}, "does not name the origin 'https://other.example'"),
        ({"url": "{0}1/echo"}, "does not name the origin|this is no URL"),
        ({"url": "http://localhost:1/"}, "does not name the origin"),
        ({"url": "file:///etc/passwd"}, "write https://"),
        ({"url": "//x"}, "write https://"),
        ({"url": "http://me@127.0.0.1/"}, "a URL names no user"),
        ({"url": "{0}@evil.example/"}, "a URL names no user"),
        ({"url": "http://[::1"}, "this is no URL"),
        ({"url": "http://\ud7ff.example/"}, "this is no URL"),
    ],
)
async def test_what_is_not_sent_is_told_and_nobody_is_asked(
    partner: Server, more: Mapping[str, Any], words: str
) -> None:
    said = {**more, "url": str(more["url"]).format(partner.address)}
    if more["url"] == 1:
        said["url"] = 1
    with pytest.raises(GuestError, match=words):
        await fetched(partner, json.dumps(said), origins=("http://127.0.0.1",))
    assert partner.asked == []


async def test_an_origin_is_the_same_however_it_is_written(partner: Server) -> None:
    async with memory_host() as host:
        asks = fetching(
            request("HTTPS://API.example.invalid:443/x"), origins=("https://api.example.invalid",)
        )
        await host.deploy(asks, grants=["host.http=https://api.example.invalid"])
        with pytest.raises(GuestError, match=r"https://api.example.invalid cannot be asked"):
            await told(host, "go")


async def test_an_origin_is_granted_by_name_and_no_other_with_it(partner: Server) -> None:
    origin = partner.address
    asks = fetching(request(f"{origin}/echo"), origins=(origin,))
    async with memory_host() as host:
        with pytest.raises(Exception, match=f"it asks for host.http={origin}, and nobody granted"):
            await host.deploy(asks, grants=["host.http=https://api.example.org"])
        await host.deploy(asks, grants=[f"host.http={origin}"])
        assert (await told(host, "go"))[0]["status"] == 201
        await host.revoke("probe", f"host.http={origin}")
        with pytest.raises(GrantError, match=f"may not use http={origin} of the host"):
            await told(host, "go")
        assert len(partner.asked) == 1


async def test_who_does_not_listen_is_told(partner: Server) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        origin = f"http://127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(GuestError, match=f"{origin} cannot be asked"):
            await fetched(partner, request(f"{origin}/x"), origins=(origin,))


async def test_a_request_ends_with_the_time_of_its_port_and_its_connection_with_it(
    partner: Server,
) -> None:
    origin = partner.address
    asks = fetching(request(f"{origin}/never"), origins=(origin,))
    async with memory_host(values={"ports.timeout": 0.2}) as host:
        await host.deploy(asks, grants=[f"host.http={origin}"])
        with pytest.raises(PortTimeoutError):
            await told(host, "go")
        assert await asyncio.to_thread(partner.left.wait, 30)


async def test_a_partner_that_may_have_acted_has_its_step_undone(partner: Server) -> None:
    """Nobody knows what became of it, as where an adapter fails."""
    origin = partner.address
    asks = probe(ports={"step": (ask("http.fetch", request(f"{origin}/broken")),)}, http=[origin])
    async with memory_host() as host:
        await host.deploy(asks, grants=[f"host.http={origin}"])
        record = await host.create("Probe")
        await host.wait(record, 5)
        ((_, (step,)),) = await host.flows(record)
        assert step.state in {StepState.UNKNOWN, StepState.UNDONE}
        assert len(partner.asked) == 4


async def test_connections_are_used_again_and_closed_with_what_opened_them(partner: Server) -> None:
    origin = partner.address
    url = request(f"{origin}/echo")
    async with memory_host() as host:
        await host.deploy(fetching(url, url, origins=(origin,)), grants=[f"host.http={origin}"])
        await told(host, "go")
        await told(host, "go")
        assert (len(partner.asked), partner.connections) == (4, 1)
        # The one before the live one stays loaded, for a rollback; the one before that goes.
        for version in ("1.1.0", "1.2.0"):
            await host.deploy(fetching(url, origins=(origin,), version=version))
            await told(host, "go")

        def closed(to: int) -> bool:
            with partner.counting:
                return partner.counting.wait_for(lambda: partner.connections == to, 5)

        assert await asyncio.to_thread(closed, 2)
        await host.undeploy("probe")
        assert await asyncio.to_thread(closed, 0)


async def test_a_server_whose_certificate_nobody_knows_is_not_asked(tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "server.pem"
    pem, private = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    secret = key.private_bytes(pem, private, serialization.NoEncryption())
    path.write_bytes(certificate.public_bytes(pem) + secret)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(path)
    met = []

    async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        met.append(await reader.read(1))
        writer.close()

    server = await asyncio.start_server(meet, "localhost", 0, ssl=context)
    async with server, memory_host() as host:
        origin = f"https://localhost:{server.sockets[0].getsockname()[1]}"
        asks = fetching(request(f"{origin}/"), origins=(origin,))
        await host.deploy(asks, grants=[f"host.http={origin}"])
        with pytest.raises(GuestError, match=r"cannot be asked: .*certificate verify failed"):
            await told(host, "go")
        assert met == []


async def test_an_origin_that_is_none_is_refused_before_anything_serves() -> None:
    async with memory_host() as host:
        for origin in (
            "http://exa mple.org",
            "http://xn--\u00e9.org",
            "https://a.b/path",
            "ftp://a",
        ):
            with pytest.raises(ComponentError, match="no origin"):
                await host.deploy(fetching(request("http://a/"), origins=(origin,)))

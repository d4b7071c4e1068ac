"""What is at an address, over https, within bounds."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import httpx

from aegis.core.errors import DigestError, SourceError

TIMEOUT = 20.0  # seconds for an answer to begin, and between two parts of one
MOST = 64 << 20  # bytes of a wheel
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})

Told = Callable[[int, int], object]


class MissingError(SourceError):
    """There is nothing at an address, says who answers there."""


@dataclass(frozen=True)
class Response:
    """What was answered at last, where and as what kind of content."""

    url: str
    kind: str
    content: bytes


def fetched(url: str, sha256: str | None, *, most: int = MOST, told: Told | None = None) -> bytes:
    """The bytes at `url`, which have that digest. Raises SourceError, DigestError."""
    content = read(url, most, told=told).content
    if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
        raise DigestError(f"{shown(url)} is not what it should be: its sha256 is not {sha256}")
    return content


def read(
    url: str, most: int, *, headers: Mapping[str, str] | None = None, told: Told | None = None
) -> Response:
    """What is at `url`, up to `most` bytes; it blocks. Raises SourceError, MissingError."""
    content = bytearray()
    try:
        with (
            httpx.Client(follow_redirects=True, max_redirects=5, timeout=TIMEOUT) as client,
            client.stream("GET", url, headers=headers) as response,
        ):
            for hop in (*response.history, response):
                if hop.url.scheme != "https" and hop.url.host not in LOOPBACK:
                    raise SourceError(f"{shown(str(hop.url))} is not https")
            if response.status_code == 404:
                raise MissingError(f"there is nothing at {shown(url)}")
            response.raise_for_status()
            whole = int(response.headers.get("content-length", "0"))
            for part in response.iter_bytes():
                content += part
                if len(content) > most:
                    raise SourceError(f"{shown(url)} has more than {most >> 20} MiB")
                if told is not None:
                    told(len(content), max(whole, len(content)))
            return Response(
                str(response.url), response.headers.get("content-type", ""), bytes(content)
            )
    except httpx.HTTPStatusError as error:
        raise SourceError(f"{shown(url)} answers {error.response.status_code}") from None
    except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError, ValueError) as error:
        raise SourceError(f"{shown(url)} does not answer: {type(error).__name__}") from None


def shown(url: str) -> str:
    """An address without what may be secret in it."""
    try:
        return str(httpx.URL(url).copy_with(userinfo=b"", query=None, fragment=None))
    except httpx.InvalidURL:
        return "what is no address"

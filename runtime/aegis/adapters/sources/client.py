"""Asks servers over HTTP, within limits: no answer is too long, too late, or from elsewhere."""

from __future__ import annotations

import asyncio
import functools
import ssl
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import urljoin, urlsplit

import httpx

from aegis.adapters.sources.tree import Limits
from aegis.core.address import is_loopback
from aegis.core.errors import SourceError
from aegis.core.moving import Progress

SAME = 304
ANSWERS = 64  # are known at a time
SHORT = 1 << 18  # bytes of one that is
REDIRECTS = frozenset({301, 302, 303, 307, 308})
OWN = ("localhost", "127.0.0.1", "[::1]")  # a proxy has nothing to do with these
AGENT = "aegis"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a server said, all of it: status 200, or 404."""

    status: int
    headers: Mapping[str, str]
    content: bytes


class Known:
    """Answers that may still hold: a server that is asked whether they do counts that for less."""

    def __init__(self) -> None:
        self._answers: OrderedDict[str, Answer] = OrderedDict()

    def get(self, url: str) -> Answer | None:
        """The last answer of a URL."""
        return self._answers.get(url)

    def put(self, url: str, answer: Answer) -> None:
        """Keep an answer, if it says what it is known by, and is short."""
        if "etag" not in answer.headers or len(answer.content) > SHORT:
            return
        self._answers[url] = answer
        self._answers.move_to_end(url)
        if len(self._answers) > ANSWERS:
            self._answers.popitem(last=False)


@dataclass
class Session:
    """The requests of one fetch of `what`; `told` hears the bytes so far and of how many."""

    client: httpx.AsyncClient
    limits: Limits
    what: str
    known: Known
    told: Progress | None = None
    _came: int = field(default=0, init=False)
    _due: int = field(default=0, init=False)

    async def get(self, url: str, *, secret: Mapping[str, str] | None = None) -> Answer:
        """What is at a URL; `secret` are headers for nobody but its server.

        Redirects are followed, from https to https only, and never with the secret to another
        server. Raises SourceError for any answer but 200 and 404.
        """
        return await self._get(url, secret, None)

    async def ask(self, url: str, *, secret: Mapping[str, str] | None = None) -> Answer:
        """The answer to a question that was asked before, maybe, and may have the same answer."""
        known = self.known.get(url)
        answer = await self._get(url, secret, known)
        if answer.status == 200 and answer is not known:
            self.known.put(url, answer)
        return answer

    async def _get(
        self, url: str, secret: Mapping[str, str] | None, known: Answer | None
    ) -> Answer:
        origin, here = _origin(url), url
        for _ in range(self.limits.hops + 1):
            headers = {"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": AGENT}
            if secret and _origin(here) == origin:
                headers |= secret
            else:
                secret = None  # and not on the way back either
            if known is not None and here == url:
                headers["If-None-Match"] = known.headers["etag"]
            request = self.client.build_request("GET", here, headers=headers)
            try:
                answer = await self._ask(request)
            except httpx.TimeoutException:
                raise self._error(here, "does not answer in time") from None
            except (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError, OSError) as error:
                said = str(error) or type(error).__name__
                raise self._error(here, f"cannot be read: {said}") from None
            if answer.status == SAME and known is not None and here == url:
                return known
            if answer.status not in REDIRECTS:
                return answer
            here = self._next(here, answer.headers.get("location", ""))
        raise self._error(url, f"redirects more than {self.limits.hops} times")

    async def _ask(self, request: httpx.Request) -> Answer:
        answer = await self.client.send(request, stream=True)
        try:
            url = str(request.url)
            if answer.status_code in REDIRECTS or (
                answer.status_code == SAME and "if-none-match" in request.headers
            ):
                return Answer(status=answer.status_code, headers=answer.headers, content=b"")
            if answer.status_code not in {200, 404}:
                raise self._refusal(url, answer)
            if answer.headers.get("content-encoding", "identity") != "identity":
                raise self._error(url, "packs its answer, which nobody asked for")
            return Answer(
                status=answer.status_code,
                headers=answer.headers,
                content=await self._read(url, answer),
            )
        finally:
            await answer.aclose()

    async def _read(self, url: str, answer: httpx.Response) -> bytes:
        said = answer.headers.get("content-length", "")
        length = int(said) if said.isascii() and said.isdigit() else 0
        if length > self.limits.total:
            raise self._long(url)
        self._due += length
        content = bytearray()
        async for chunk in answer.aiter_raw():
            content += chunk
            self._came += len(chunk)
            if len(content) > self.limits.total:
                raise self._long(url)
            if self.told is not None:
                self.told(self._came, max(self._due, self._came))
        return bytes(content)

    def _next(self, here: str, location: str) -> str:
        """Where a redirect leads. Raises SourceError."""
        try:
            there = urljoin(here, location)
            split = urlsplit(there)
            host, _ = split.hostname or "", split.port
        except ValueError:
            raise self._error(here, "redirects to what is no URL") from None
        is_secure = split.scheme == "https"
        is_own = split.scheme == "http" and is_loopback(host)
        if not host or not (is_secure or (is_own and here.startswith("http://"))):
            raise self._error(
                here, f"redirects to {split.scheme}://{host}, which is not over https"
            )
        return there

    def _refusal(self, url: str, answer: httpx.Response) -> SourceError:
        status, headers = answer.status_code, answer.headers
        left = headers.get("x-ratelimit-remaining", headers.get("ratelimit-remaining"))
        if status == 429 or (status == 403 and (left == "0" or "retry-after" in headers)):
            until = _until(headers)
            return self._error(
                url,
                "answers no more questions for now" + (f", until {until}" if until else ""),
                hint="with a token of its own a host may ask more often",
            )
        if status in {401, 403}:
            return self._error(
                url, f"says no ({status})", hint="is the token in [sources.NAME] right?"
            )
        return self._error(url, f"answers {status}")

    def _long(self, url: str) -> SourceError:
        return self._error(url, f"sends more than {self.limits.total >> 20} MiB")

    def _error(self, url: str, what: str, *, hint: str | None = None) -> SourceError:
        return SourceError(f"{self.what}: {urlsplit(url).netloc} {what}", hint=hint)


class Client:
    """Opens sessions, each for one fetch."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._known = Known()

    @asynccontextmanager
    async def session(self, what: str, told: Progress | None = None) -> AsyncGenerator[Session]:
        """The requests of one fetch; raises SourceError when all of them take too long."""
        limits = self.limits
        timeout = httpx.Timeout(limits.read, connect=limits.connect)
        try:
            async with (
                asyncio.timeout(limits.deadline),
                httpx.AsyncClient(
                    verify=_trusting(),
                    timeout=timeout,
                    mounts={f"all://{host}": None for host in OWN},
                ) as client,
            ):
                yield Session(client, limits, what, self._known, told)
        except TimeoutError:
            raise SourceError(f"{what}: it takes more than {limits.deadline:g} s") from None


@functools.cache
def _trusting() -> ssl.SSLContext:
    """Which certificates are believed: those of the machine."""
    return httpx.create_ssl_context()


def _origin(url: str) -> tuple[str, str | None, int | None]:
    split = urlsplit(url)
    port = split.port or {"https": 443, "http": 80}.get(split.scheme)
    return split.scheme, split.hostname, port


def _until(headers: Mapping[str, str]) -> str:
    """When a server answers again, by what its headers say; empty when they do not."""
    try:
        if "retry-after" in headers:
            at = time.time() + int(headers["retry-after"])
        else:
            at = int(headers.get("x-ratelimit-reset", headers.get("ratelimit-reset", "")))
        return datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S UTC")
    except (ValueError, OverflowError, OSError):
        return ""

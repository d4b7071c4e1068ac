"""What all verbs of `aegis` share: how one is added, what a host answers, what a person sees."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from aegis.core.errors import AegisError, ClosedError, NotFoundError
from aegis.core.moving import Progress

if TYPE_CHECKING:
    from argparse import _SubParsersAction

TIMEOUT = 60.0  # seconds for the answer to one request


def verb(
    verbs: _SubParsersAction[ArgumentParser], name: str, run: Callable[[Namespace], None], text: str
) -> ArgumentParser:
    """Add a verb that `run` does; `text` is its help, without a full stop."""
    made = verbs.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
    made.set_defaults(run=run)
    made.add_argument("--quiet", action="store_true", help="draw no progress bar")
    return made


def add_host(parser: ArgumentParser) -> None:
    """Add the options that say which running host is meant."""
    add = parser.add_argument
    add("--url", "--to", dest="to", metavar="URL", help="the address of the host, or:")
    add("--data", type=Path, metavar="DIR", help="the host that owns this directory")
    add("--token", help="what the host wants to see (default: AEGIS_TOKEN)")


def ask(options: Namespace, method: str, path: str, body: bytes | None = None) -> bytes:
    """What the host of `add_host` answers to a request. Raises as `sent` does."""
    return sent(method, f"{host_of(options)}{path}", token_of(options), body)


def host_of(options: Namespace) -> str:
    """The address of the host that is meant. Raises AegisError where nobody serves a directory."""
    from aegis.adapters.storage.lock import owner

    if options.to:
        return str(options.to).rstrip("/")
    data: Path | None = options.data
    if data is None or not data.is_dir():
        missing = "which host?" if data is None else f"there is no directory {data}"
        raise NotFoundError(missing, hint="say --url URL or --data DIR")
    owned = owner(data)
    if owned is None or not owned.fields["address"]:
        raise ClosedError(f"no host serves {data}", hint="start it with aegis-serve")
    return str(owned.fields["address"])


def token_of(options: Namespace) -> str | None:
    """What the host wants to see."""
    return options.token or os.environ.get("AEGIS_TOKEN")


def sent(method: str, url: str, token: str | None, body: bytes | None = None) -> bytes:
    """What a host answers. Raises AegisError with what it says, or when it says nothing."""
    from tornado.httpclient import HTTPClient, HTTPRequest

    headers = {} if body is None else {"Content-Type": "application/json"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    client = HTTPClient()
    try:
        answer = client.fetch(
            HTTPRequest(url, method, headers, body, request_timeout=TIMEOUT), raise_error=False
        )
    except (OSError, ValueError) as error:
        raise ClosedError(f"{url} does not answer: {error}") from None
    finally:
        client.close()
    if answer.code in {200, 204}:
        return answer.body
    if answer.code == 599:
        raise ClosedError(f"{url} does not answer: {answer.error}")
    raise _told(url, answer.code, answer.body)


def _told(url: str, code: int, body: bytes) -> AegisError:
    """What a host says that does not do what it was asked."""
    try:
        return refusal(msgspec.json.decode(body, type=dict[str, Any]))
    except (msgspec.DecodeError, KeyError):
        return AegisError(f"{url} answers {code}")


def refusal(problem: dict[str, Any]) -> AegisError:
    """The error of a problem document. Raises KeyError for what is none."""
    detail, hint = str(problem["detail"]), problem.get("hint")
    if problem.get("pointer"):
        detail = f"{detail}, at {problem['pointer']}"
    return AegisError(detail, hint=hint)


def lines(options: Namespace, method: str, path: str, body: bytes, kind: str) -> Generator[bytes]:
    """The lines of a host's answer as they come, however long it takes. Raises as `sent` does."""
    import httpx

    url, token = f"{host_of(options)}{path}", token_of(options)
    headers = {"Content-Type": kind, "Accept": "application/x-ndjson"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    try:
        with (
            httpx.Client(timeout=httpx.Timeout(TIMEOUT, read=None), trust_env=False) as client,
            client.stream(method, url, content=body, headers=headers) as answer,
        ):
            if answer.status_code >= 300:
                raise _told(url, answer.status_code, answer.read())
            for line in answer.iter_lines():
                yield line.encode()
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise ClosedError(f"{url} does not answer: {error}") from None


def confirmed(question: str) -> bool:
    """Whether the person at the terminal says yes."""
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


def post(url: str, token: str | None, body: bytes) -> bytes:
    """What a host answers to a POST. Raises as `sent` does."""
    return sent("POST", url, token, body)


@contextmanager
def bar(what: str, unit: str, *, quiet: bool) -> Generator[Progress]:
    """A progress bar on a terminal, None elsewhere; what it is told with how far it is."""
    from tqdm import tqdm

    scaled = unit == "B"
    # `disable=None` leaves it out where standard error is no terminal.
    with tqdm(
        desc=what, unit=unit if scaled else f" {unit}", unit_scale=scaled,
        disable=True if quiet else None,
    ) as bar:  # fmt: skip

        def told(done: int, of: int) -> None:
            bar.total = of
            bar.update(done - bar.n)

        yield told


def say(text: str) -> None:
    """To standard error; standard output belongs to data."""
    sys.stderr.write(f"aegis: {text}\n")
    sys.stderr.flush()

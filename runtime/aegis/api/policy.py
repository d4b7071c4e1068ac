"""Who may call a route: each one says so, and what says nothing is refused when it is built."""

from __future__ import annotations

import hmac
from collections.abc import Collection
from enum import StrEnum
from functools import lru_cache
from urllib.parse import urlsplit

from aegis.api.request import Request
from aegis.core.errors import AegisError, BadRequestError, UnauthorizedError

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})
_SCHEMES = frozenset({"bearer", "token"})


class ForbiddenError(AegisError):
    """The request comes by a name or from an origin that this server does not answer to."""

    status = 403
    title = "Forbidden"


class Access(StrEnum):
    """What a route asks of its caller."""

    PUBLIC = "public"
    TOKEN = "token"  # noqa: S105 -- the name of the policy, no secret


def hosts_of(bound: str, names: Collection[str] = ()) -> frozenset[str] | None:
    """The Host names to answer to when bound to address `bound`; None answers to any.

    A server on loopback is reached by few names, so any other in the Host header is a page of the
    web that had its own name resolve to this machine. `names` are further ones, of a proxy.
    """
    loopback = bound in {"localhost", "::1"} or bound.startswith("127.")
    if not loopback:
        return None
    return LOOPBACK | {bound} | {name.lower() for name in names}


@lru_cache(maxsize=256)
def _name(host: str) -> str:
    """A Host header without its port."""
    name, colon, port = host.rpartition(":")
    return (name if colon and (port.isdigit() or not port) else host).lower()


class Gate:
    """Checks every request: the Host it names, the origin it comes from, the token it carries."""

    def __init__(self, *, token: str | None, hosts: frozenset[str] | None) -> None:
        if token is not None and not token:
            raise ValueError("an empty token would let everybody in: give None to say so")
        self._token = None if token is None else token.encode()
        self._hosts = hosts

    def check_place(self, request: Request) -> None:
        """Refuse a foreign Host and another site's page. Raises ForbiddenError, BadRequestError."""
        host = request.headers.get("host")
        if self._hosts is not None:
            if host is None:
                raise BadRequestError("the Host header is missing")
            if _name(host) not in self._hosts:
                raise ForbiddenError(
                    f"this server does not answer to the Host {_name(host)!r}",
                    hint="use localhost or 127.0.0.1, or configure the name",
                )
        if request.method not in SAFE and not _same_origin(request, host):
            # Without a token a page of any site could post to a server on this machine.
            raise ForbiddenError(
                "a page of another origin may not change anything here",
                hint="send the request from a program, or from a page that this server serves",
            )

    def check_caller(self, request: Request, access: Access) -> None:
        """Refuse who may not call a route of `access`. Raises UnauthorizedError."""
        if access is Access.PUBLIC or self._token is None:
            return
        given = _given(request)
        if given is None:
            raise UnauthorizedError(
                "a token is needed", hint="send `Authorization: Bearer TOKEN` or `?token=TOKEN`"
            )
        if not hmac.compare_digest(given.encode("utf-8", "surrogateescape"), self._token):
            raise UnauthorizedError("the token is wrong", hint="it changes when the server starts")


def _given(request: Request) -> str | None:
    """The token that a request carries."""
    authorization = request.headers.get("authorization")
    if authorization is not None:
        scheme, _, credentials = authorization.partition(" ")
        return credentials.strip() if scheme.lower() in _SCHEMES else ""
    if "token=" in request.query:
        return next((value for name, value in request.parameters() if name == "token"), None)
    return None


def _same_origin(request: Request, host: str | None) -> bool:
    """Whether a browser says that the request comes from a page of this very server, or is none."""
    origin = request.headers.get("origin")
    if origin is None:
        return request.headers.get("sec-fetch-site") in {None, "same-origin", "none"}
    try:
        return host is not None and urlsplit(origin).netloc.lower() == host.lower()
    except ValueError:
        return False

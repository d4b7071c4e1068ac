"""From a request to its answer: which route is meant, who may call it, errors as problems."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from urllib.parse import unquote

import msgspec

from aegis.api.audit import AuditRoutes
from aegis.api.body import located
from aegis.api.deployments import MAX_BUNDLE, DeploymentRoutes
from aegis.api.failed import FailedRoutes
from aegis.api.following import FollowingRoutes
from aegis.api.grants import GrantRoutes
from aegis.api.inbox import Inbox
from aegis.api.intake import IntakeRoutes
from aegis.api.policy import Access, Gate
from aegis.api.records import Records
from aegis.api.request import Request
from aegis.api.response import Response, problem_response
from aegis.api.splits import SplitRoutes
from aegis.api.state import State
from aegis.api.traps import TrapRoutes
from aegis.core.errors import (
    AegisError,
    BadRequestError,
    InvalidError,
    MethodNotAllowedError,
    MigratingError,
    NotFoundError,
    closest,
)
from aegis.core.graph import Graph
from aegis.core.trace import HTTP
from aegis.engine.context import SOURCE
from aegis.engine.host import Host

PREFIX = "/aegis/api"
MAX_BODY = 1 << 20

Handler = Callable[..., Response | Awaitable[Response]]
_Shape = tuple[int, str, str]

_log = logging.getLogger("aegis.api")


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """A path with its variables in braces, who may call it, and its handlers by method.

    A handler gets the request and the variables in their order; GET serves HEAD too. `max_body`
    (bytes) is for a route that takes more than others, from who may call it.
    """

    path: str
    access: Access | None = None
    methods: Mapping[str, Handler]
    max_body: int | None = None

    def allow(self) -> tuple[str, ...]:
        """The methods to name in an Allow header."""
        extra = ("HEAD", "OPTIONS") if "GET" in self.methods else ("OPTIONS",)
        return (*self.methods, *extra)


class Router:
    """The HTTP API of a host. `handle` answers a request, or returns what will.

    `token`: what a caller must show, None lets everybody in. `hosts`: the names to answer to (see
    `policy.hosts_of`), None any. `render`: draws a graph as SVG. `max_body`: bytes, for the server
    that reads requests. `routes`: further ones.
    """

    def __init__(
        self,
        host: Host,
        *,
        token: str | None,
        hosts: frozenset[str] | None = None,
        render: Callable[[Graph], str] | None = None,
        max_body: int = MAX_BODY,
        routes: Sequence[Route] = (),
    ) -> None:
        self.token = token
        self.max_body = max_body
        self._host = host
        self._gate = Gate(token=token, hosts=hosts)
        self.routes = (
            *_routes(Records(host, PREFIX), State(host, render), Inbox(host), FailedRoutes(host)),
            Route(
                path=f"{PREFIX}/audit",
                access=Access.TOKEN,
                methods={"GET": AuditRoutes(host).list},
            ),
            Route(
                path=f"{PREFIX}/import",
                access=Access.TOKEN,
                methods={"POST": IntakeRoutes(host).take},
            ),
            *_split_routes(SplitRoutes(host)),
            *_grant_routes(GrantRoutes(host)),
            *_trap_routes(TrapRoutes(host)),
            *_deployment_routes(DeploymentRoutes(host)),
            *_following_routes(FollowingRoutes(host)),
            *routes,
        )
        self._fixed: dict[str, Route] = {}
        self._shaped: dict[_Shape, tuple[Route, tuple[int, ...]]] = {}
        self._large: dict[str, int] = {}
        for route in self.routes:
            self._add(route)

    def _add(self, route: Route) -> None:
        if route.access is None:
            raise AegisError(
                f"route {route.path} says nothing of who may call it",
                hint="give it access=Access.TOKEN or Access.PUBLIC",
            )
        parts = route.path.split("/")
        variables = tuple(n for n, part in enumerate(parts) if part.startswith("{"))
        known = self._shaped if variables else self._fixed
        key = _shape(parts) if variables else route.path
        if key in known:
            raise AegisError(f"route {route.path} is there twice")
        if variables:
            self._shaped[_shape(parts)] = (route, variables)
        else:
            self._fixed[route.path] = route
            if route.max_body is not None:
                self._large[route.path] = route.max_body

    def most(self, target: str, headers: Mapping[str, str]) -> int:
        """How many bytes the body of a request may have, by its path and query, and headers."""
        path, _, query = target.partition("?")
        large = self._large.get(path)
        if large is None:
            return self.max_body
        try:
            self._gate.check_caller(Request("POST", path, query, headers), Access.TOKEN)
        except AegisError:
            return self.max_body
        return large

    def handle(self, request: Request) -> Response | Awaitable[Response]:
        """The answer, at once when nothing had to be awaited; never raises, nor does the awaitable.

        The awaitable is to be awaited to its end even when the client is gone: work that is being
        made durable is not cut short (`Request.on_hurry` ends mere waiting).
        """
        SOURCE.set(HTTP)
        try:
            answer = self._dispatch(request)
        except MigratingError as error:
            answer = self._repeated(request, error)
        except Exception as error:  # noqa: BLE001 -- whatever it was, the caller gets an answer
            return self._failed(request, error)
        if not isinstance(answer, Response):
            return self._finish(request, answer)
        return answer.bodiless() if request.method == "HEAD" else answer

    async def _finish(self, request: Request, answer: Awaitable[Response]) -> Response:
        while True:
            try:
                response = await answer
            except MigratingError as error:
                answer = self._repeated(request, error)
                continue
            except Exception as error:  # noqa: BLE001 -- as above
                response = self._failed(request, error)
            return response.bodiless() if request.method == "HEAD" else response

    async def _repeated(self, request: Request, error: MigratingError) -> Response:
        """The answer of the code that serves after a migration, which the request ran into."""
        await self._host.migrated(error)
        answer = self._dispatch(request)
        return answer if isinstance(answer, Response) else await answer

    def refuse(self, request: Request, error: AegisError) -> Response:
        """The answer to a request that the server could not read whole."""
        return self._failed(request, error)

    def _dispatch(self, request: Request) -> Response | Awaitable[Response]:
        gate = self._gate
        gate.check_place(request)
        route, variables = self._find(request.path)
        if route is None:
            # Who may not come in does not learn which rooms there are.
            gate.check_caller(request, Access.TOKEN)
            known = [route.path for route in self.routes if "{" not in route.path]
            known += (f"{PREFIX}/models/{name}" for name in self._host.engine.registry.endpoints)
            raise NotFoundError(
                f"nothing is at {request.path[:200]!r}",
                hint=closest(request.path, known) or f"{PREFIX}/openapi.json lists what there is",
            )
        gate.check_caller(request, route.access or Access.TOKEN)
        method = request.method
        handler = route.methods.get("GET" if method == "HEAD" else method)
        if handler is not None:
            return handler(request, *variables)
        if method == "OPTIONS":
            return Response(204, (("Allow", ", ".join(route.allow())),))
        raise MethodNotAllowedError(
            f"{route.path} does not take {method[:40]!r}", allow=list(route.allow())
        )

    def _find(self, path: str) -> tuple[Route | None, list[str]]:
        """The route that a path means, with its variables decoded."""
        fixed = self._fixed.get(path)
        if fixed is not None:
            return fixed, []
        parts = path.split("/")
        found = self._shaped.get(_shape(parts))
        if found is None:
            return None, []
        route, places = found
        variables = [parts[place] for place in places]
        if "%" in path:
            try:
                variables = [unquote(text, errors="strict") for text in variables]
            except UnicodeDecodeError as error:
                raise BadRequestError("the path is not UTF-8 in percent-encoding") from error
        return (route, variables) if all(variables) else (None, [])

    def _failed(self, request: Request, error: Exception) -> Response:
        """An AegisError says what it may; any other tells the log, and the caller only where."""
        if isinstance(error, AegisError):
            if error.status >= 500:
                _log.warning(
                    "%s %r: %s", request.method, request.path, error, exc_info=error.__cause__
                )
            response = problem_response(
                located(error) if isinstance(error, InvalidError) else error
            )
        else:
            id = self._host.clock.id()
            _log.error("%s %r failed, id %s", request.method, request.path, id, exc_info=error)
            response = problem_response(
                AegisError(f"something broke; the host's log tells more under {id}", id=id)
            )
        return response.bodiless() if request.method == "HEAD" else response


def _shape(parts: list[str]) -> _Shape:
    """What tells the paths with variables apart: their length and their two fixed words.

    `/aegis/api/models/orders/7/commands/cancel` is (8, "models", "commands"),
    `/aegis/api/components/orders/traps/7/replay` (8, "components", "replay"), and
    `/aegis/api/failed/7/retry` (6, "failed", "retry").
    """
    count = len(parts)
    if count < 5 or parts[1] != "aegis" or parts[2] != "api":
        return (0, "", "")
    if count == 6 and parts[3] != "models":
        return (count, parts[3], parts[5])
    if count == 8 and parts[3] == "components":
        return (count, parts[3], parts[7] if parts[5] == "traps" else "")
    return (count, parts[3], parts[6] if count > 6 else "")


def _following_routes(following: FollowingRoutes) -> tuple[Route, ...]:
    component = f"{PREFIX}/components/{{name}}"
    return (
        Route(path=f"{PREFIX}/followed", access=Access.TOKEN, methods={"GET": following.list}),
        Route(
            path=f"{component}/follow",
            access=Access.TOKEN,
            methods={"GET": following.get, "PUT": following.put, "DELETE": following.delete},
        ),
        Route(
            path=f"{component}/versions",
            access=Access.TOKEN,
            methods={"GET": following.versions},
        ),
    )


def _split_routes(splits: SplitRoutes) -> tuple[Route, ...]:
    split = f"{PREFIX}/components/{{name}}/split"
    return (
        Route(path=f"{PREFIX}/splits", access=Access.TOKEN, methods={"GET": splits.list}),
        Route(
            path=split,
            access=Access.TOKEN,
            methods={"GET": splits.get, "PUT": splits.put, "DELETE": splits.drop},
        ),
        Route(path=f"{split}/promote", access=Access.TOKEN, methods={"POST": splits.promote}),
    )


def _grant_routes(grants: GrantRoutes) -> tuple[Route, ...]:
    return (
        Route(path=f"{PREFIX}/access", access=Access.TOKEN, methods={"GET": grants.list}),
        Route(
            path=f"{PREFIX}/components/{{name}}/grants",
            access=Access.TOKEN,
            methods={"POST": grants.change},
        ),
    )


def _trap_routes(traps: TrapRoutes) -> tuple[Route, ...]:
    stopped = f"{PREFIX}/components/{{name}}/traps"
    return (
        Route(path=stopped, access=Access.TOKEN, methods={"GET": traps.list}),
        Route(
            path=f"{stopped}/{{number}}/replay",
            access=Access.TOKEN,
            methods={"POST": traps.replay},
        ),
    )


def _deployment_routes(deployments: DeploymentRoutes) -> tuple[Route, ...]:
    component = f"{PREFIX}/components/{{name}}"
    return (
        Route(
            path=f"{PREFIX}/deployments",
            access=Access.TOKEN,
            methods={"GET": deployments.list, "POST": deployments.deploy},
            max_body=MAX_BUNDLE,
        ),
        Route(
            path=f"{PREFIX}/deployments/plan",
            access=Access.TOKEN,
            methods={"POST": deployments.plan},
            max_body=MAX_BUNDLE,
        ),
        Route(
            path=f"{PREFIX}/deployments/{{number}}",
            access=Access.TOKEN,
            methods={"GET": deployments.get},
        ),
        Route(path=component, access=Access.TOKEN, methods={"DELETE": deployments.undeploy}),
        Route(
            path=f"{component}/rollback",
            access=Access.TOKEN,
            methods={"POST": deployments.rollback},
        ),
    )


def _routes(
    records: Records, state: State, inbox: Inbox, failed: FailedRoutes
) -> tuple[Route, ...]:
    """Every route there is, each with who may call it."""
    return (
        Route(path="/healthz", access=Access.PUBLIC, methods={"GET": state.health}),
        Route(path="/readyz", access=Access.PUBLIC, methods={"GET": state.ready}),
        Route(
            path=f"{PREFIX}/models/{{endpoint}}",
            access=Access.TOKEN,
            methods={"GET": records.list, "POST": records.create},
        ),
        Route(
            path=f"{PREFIX}/models/{{endpoint}}/{{id}}",
            access=Access.TOKEN,
            methods={"GET": records.get, "PATCH": records.patch, "DELETE": records.delete},
        ),
        Route(
            path=f"{PREFIX}/models/{{endpoint}}/{{id}}/flows",
            access=Access.TOKEN,
            methods={"GET": records.flows},
        ),
        Route(
            path=f"{PREFIX}/models/{{endpoint}}/{{id}}/related/{{name}}",
            access=Access.TOKEN,
            methods={"GET": records.related, "POST": records.relate},
        ),
        Route(
            path=f"{PREFIX}/models/{{endpoint}}/{{id}}/commands/{{name}}",
            access=Access.TOKEN,
            methods={"POST": records.command},
        ),
        Route(
            path=f"{PREFIX}/models/{{endpoint}}/{{id}}/ports/{{name}}",
            access=Access.TOKEN,
            methods={"POST": records.port},
        ),
        Route(path=f"{PREFIX}/flows/{{id}}", access=Access.TOKEN, methods={"GET": state.flow}),
        Route(path=f"{PREFIX}/replays", access=Access.TOKEN, methods={"POST": state.replay}),
        Route(path=f"{PREFIX}/why/{{id}}", access=Access.TOKEN, methods={"GET": state.why}),
        Route(
            path=f"{PREFIX}/flows/{{id}}/undo", access=Access.TOKEN, methods={"POST": inbox.undo}
        ),
        Route(
            path=f"{PREFIX}/events",
            access=Access.TOKEN,
            methods={"GET": state.events, "POST": inbox.tell},
        ),
        Route(path=f"{PREFIX}/failed", access=Access.TOKEN, methods={"GET": failed.list}),
        Route(
            path=f"{PREFIX}/failed/{{id}}",
            access=Access.TOKEN,
            methods={"GET": failed.get, "DELETE": failed.discard},
        ),
        Route(
            path=f"{PREFIX}/failed/{{id}}/retry",
            access=Access.TOKEN,
            methods={"POST": failed.retry},
        ),
        Route(path=f"{PREFIX}/components", access=Access.TOKEN, methods={"GET": state.components}),
        Route(
            path=f"{PREFIX}/openapi.json",
            access=Access.TOKEN,
            methods={"GET": state.description},
        ),
        Route(path=f"{PREFIX}/graph.json", access=Access.TOKEN, methods={"GET": state.graph}),
        Route(path=f"{PREFIX}/graph.svg", access=Access.TOKEN, methods={"GET": state.picture}),
    )

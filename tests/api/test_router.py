"""The router: who may call what, unknown routes and methods, errors that tell and errors that must not."""

import logging

import pytest

from aegis.api.policy import Access, ForbiddenError, hosts_of
from aegis.api.response import Response
from aegis.api.router import Route, Router
from aegis.core.errors import AegisError

TOKEN = "correct-horse"
PUBLIC = {"/healthz", "/readyz"}
ORDERS = "/aegis/api/models/orders"


@pytest.fixture
def router(host):
    return Router(host, token=TOKEN, hosts=hosts_of("127.0.0.1", ["tea.example"]))


@pytest.fixture
def guarded(router, caller):
    return caller(router)


def targets(router):
    return [
        (
            method,
            route.path.replace("{endpoint}", "orders").replace("{id}", "1").replace("{name}", "x"),
        )
        for route in router.routes
        for method in (*route.methods, "OPTIONS", "HEAD", "PUT")
    ]


async def test_every_route_but_the_health_checks_asks_for_the_token(router, guarded):
    asked = targets(router)
    assert len(asked) > 40
    for method, path in asked:
        answer = await guarded(method, path)
        refused = answer.status == 401
        assert refused == (path not in PUBLIC), (method, path, answer.status)
        if refused:
            assert answer.headers["WWW-Authenticate"].startswith("Bearer")


async def test_the_token_opens_every_route(router, guarded):
    for method, path in targets(router):
        answer = await guarded(method, path, authorization=f"Bearer {TOKEN}")
        assert answer.status not in {401, 403}, (method, path, answer.status)


async def test_what_is_not_there_is_not_told_without_the_token(guarded):
    assert (await guarded("GET", "/aegis/api/secret")).status == 401
    assert (await guarded("GET", "/")).status == 401
    assert (await guarded("GET", "/", authorization=f"Bearer {TOKEN}")).status == 404


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": f"Bearer {TOKEN}"},
        {"authorization": f"bearer  {TOKEN} "},
        {"authorization": f"token {TOKEN}"},
    ],
)
async def test_the_token_is_taken_from_the_authorization_header(guarded, headers):
    assert (await guarded("GET", ORDERS, **headers)).status == 200


async def test_the_token_is_taken_from_the_query(guarded):
    assert (await guarded("GET", f"{ORDERS}?customer=x&token={TOKEN}")).status == 200
    assert (await guarded("GET", f"{ORDERS}?token=no")).status == 401
    assert (await guarded("GET", f"{ORDERS}?token=")).status == 401


@pytest.mark.parametrize(
    "value", ["", "Bearer", "Bearer sesame", f"Basic {TOKEN}", TOKEN, "Bearer \udcff", "Bearer é"]
)
async def test_a_wrong_token_is_refused_and_not_repeated(guarded, value, caplog):
    with caplog.at_level(logging.DEBUG):
        refused = await guarded("GET", ORDERS, authorization=value)
    assert refused.status == 401
    assert b"sesame" not in refused.body
    assert "sesame" not in caplog.text
    assert TOKEN not in caplog.text
    assert TOKEN.encode() not in refused.body


async def test_an_empty_token_is_no_token(host):
    with pytest.raises(ValueError, match="empty token"):
        Router(host, token="")


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("localhost", 200),
        ("localhost:8123", 200),
        ("LOCALHOST:8123", 200),
        ("127.0.0.1:8123", 200),
        ("[::1]:8123", 200),
        ("[::1]", 200),
        ("tea.example", 200),
        ("evil.example", 403),
        ("localhost.evil.example:80", 403),
        ("evil.example:localhost", 403),
        ("", 403),
    ],
)
async def test_a_server_on_loopback_answers_only_to_its_own_names(guarded, name, status):
    answer = await guarded("GET", ORDERS, host=name, authorization=f"Bearer {TOKEN}")
    assert answer.status == status
    assert (await guarded("GET", "/healthz", host=name)).status == status


def test_a_server_for_all_answers_to_any_name():
    assert hosts_of("0.0.0.0") is None
    assert hosts_of("192.168.1.5") is None
    assert "127.0.0.1" in hosts_of("localhost")
    assert "127.5.5.5" in hosts_of("127.5.5.5")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://[broken"}, 403),
        ({"origin": "http://localhost:9999"}, 403),
        ({"sec_fetch_site": "cross-site"}, 403),
        ({"sec_fetch_site": "same-site"}, 403),
        ({"origin": "http://localhost:8000"}, 201),
        ({"sec_fetch_site": "same-origin"}, 201),
        ({}, 201),
    ],
)
async def test_a_page_of_another_site_changes_nothing_even_without_a_token(call, headers, status):
    answer = await call("POST", "/aegis/api/models/notes", {"text": "x"}, **headers)
    assert answer.status == status
    assert not [name for name in answer.headers if name.startswith("Access-Control")]


def test_a_route_that_does_not_say_who_may_call_it_is_refused(host):
    silent = Route(path="/aegis/api/back-door", methods={"GET": lambda request: Response(200)})
    with pytest.raises(AegisError, match="says nothing of who may call it"):
        Router(host, token=TOKEN, routes=(silent,))


@pytest.mark.parametrize("path", ["/healthz", "/aegis/api/models/{x}/{y}"])
def test_a_route_is_there_once(host, path):
    twice = Route(path=path, access=Access.TOKEN, methods={})
    with pytest.raises(AegisError, match="there twice"):
        Router(host, token=None, routes=(twice,))


async def test_a_method_that_a_route_does_not_take_is_answered_with_those_it_does(call):
    refused = await call("PUT", ORDERS, {})
    assert refused.status == 405
    assert refused.headers["Allow"] == "GET, POST, HEAD, OPTIONS"
    asked = await call("OPTIONS", f"{ORDERS}/1")
    assert (asked.status, asked.headers["Allow"]) == (204, "GET, PATCH, DELETE, HEAD, OPTIONS")
    assert (await call("GET", f"{ORDERS}/1/commands/cancel")).status == 405
    assert (await call("BREW", "/healthz")).status == 405


@pytest.mark.parametrize(
    "path",
    ["", "/", "/aegis", "/aegis/api", "/aegis/api/", "/aegis/api/models", "/aegis/api/models/",
     "/aegis/api/models/orders/", "/aegis/api/models/orders/1/", "/aegis/api/models//1",
     "/aegis/api/models/orders/1/2/3/4/5", "//healthz", "/x/api/models/orders", "*"],
)  # fmt: skip
async def test_a_path_that_leads_nowhere_is_not_found(call, path):
    missing = await call("GET", path)
    assert (missing.status, missing.headers["Content-Type"]) == (404, "application/problem+json")
    assert missing.json["hint"]


async def test_an_error_of_ours_is_logged_and_tells_nothing(host, call, caplog):
    def broken(request):
        raise KeyError("the secret recipe is tea")

    async def broken_later(request):
        raise KeyError("the secret recipe is tea")

    call.router = Router(
        host,
        token=None,
        routes=(
            Route(path="/a", access=Access.PUBLIC, methods={"GET": broken}),
            Route(path="/b", access=Access.PUBLIC, methods={"GET": broken_later}),
        ),
    )
    for path in ("/a", "/b"):
        caplog.clear()
        answer = await call("GET", f"{path}?token=hush")
        assert answer.status == 500
        assert b"recipe" not in answer.body
        assert answer.json["id"] in caplog.text
        assert "KeyError" in caplog.text
        assert "hush" not in caplog.text
        head = await call("HEAD", path)
        assert (head.status, head.body) == (500, b"")
        assert head.response.length > 0


async def test_an_error_says_what_it_is_as_a_problem(call):
    problem = (await call("GET", "/aegis/api/models/oders")).json
    assert problem == {
        "type": "urn:aegis:problem:NotFoundError",
        "title": "Not found",
        "status": 404,
        "detail": "no model is called 'oders'",
        "hint": "did you mean 'orders'?",
    }
    assert ForbiddenError.status == 403


async def test_a_request_sees_the_components_as_they_are_then(call, host):
    text = "from aegis import Model\nclass Cup(Model, endpoint='cups'):\n    size: int\n"
    assert (await call("GET", "/aegis/api/models/cups")).status == 404
    await host.deploy("cups", "1.0.0", text)
    assert (await call("GET", "/aegis/api/models/cups")).status == 200
    await host.undeploy("cups")
    assert (await call("GET", "/aegis/api/models/cups")).status == 404

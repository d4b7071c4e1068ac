"""Deployments over HTTP: planned, gated, deployed, told line by line, and taken back."""

import asyncio
import io
import json
import zipfile

import jsonschema
import pytest

from aegis.adapters.cipher import AesCipher, random_key
from aegis.adapters.clock import SystemClock
from aegis.adapters.components.python import PythonLoader
from aegis.adapters.sources.anywhere import Anywhere
from aegis.adapters.storage.memory import MemoryStore
from aegis.adapters.trust.pinned import PinnedTrust
from aegis.api.openapi import openapi
from aegis.api.router import Router
from aegis.core.trust import Trusted
from aegis.engine.deploys import Limits
from aegis.engine.host import Host

PLACE = "/aegis/api/deployments"
CUPS = """
from aegis import Model, port
SIZES

class Cup(Model, endpoint="cups"):
    by: str = ""
    size: int = 0

    @port(consumes="cup.created", produces="cup.measured", effect=False)
    def measure(self) -> "Cup":
        return self.update(size=len(self.by))
"""


def cups(version="1.0.0", text=CUPS, **more):
    text = text.replace("SIZES", "")
    return {"name": "cups", "version": version, "text": text, **more}


def packed(version="1.0.0", text=CUPS, extra=None):
    """A folder as a zip."""
    said = f'[component]\nname = "cups"\nversion = "{version}"\nmodels = ["cups.py"]\n'
    files = {
        "aegis.toml": said,
        "cups.py": text.replace("SIZES", "from sizes import LARGE"),
        "sizes.py": "LARGE = 9\n",
    }
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in (files | (extra or {})).items():
            archive.writestr(name, content)
    return file.getvalue()


@pytest.fixture
async def host(tmp_path):
    parts = {"store": MemoryStore(), "clock": SystemClock(), "loader": PythonLoader()}
    parts |= {"cipher": AesCipher(random_key()), "scratch": MemoryStore}
    parts |= {
        "sources": Anywhere(directory=tmp_path),
        "trust": PinnedTrust(Trusted(unsigned=("upload:cups",))),
    }
    async with Host(**parts, limits=Limits(grace=0.1)) as host:
        yield host


@pytest.fixture
async def measured(host, call):
    """A host whose cups were measured: flows to try a candidate on."""
    assert (await call("POST", PLACE, cups())).status == 201
    for by in ("me", "you", "them"):
        cup = await host.create("Cup", by=by)
        await host.wait(cup, 5)
    return host


ZIP = {"content_type": "application/zip"}
LONG = CUPS.replace("len(self.by)", "len(self.by) if len(self.by) < 4 else 99")


async def serves(host):
    return {name: one.version for name, one in host.engine.registry.live.items()}


async def test_a_text_is_deployed_once_and_the_second_time_served_already(host, call):
    made = await call("POST", PLACE, cups())
    assert made.status == 201
    assert made.headers["Location"] == f"{PLACE}/1"
    deployment = made.json["deployment"]
    assert (deployment["component"], deployment["version"]) == ("cups", "1.0.0")
    assert (deployment["who"], deployment["origin"]) == ("http", "upload:cups")
    assert made.json["same"] is False
    again = await call("POST", PLACE, cups())
    assert (again.status, again.json["same"]) == (200, True)
    assert again.json["deployment"] == deployment
    assert (await call("POST", "/aegis/api/models/cups", {"by": "me"})).status == 201


async def test_the_same_code_from_elsewhere_is_not_deployed_again(host, call):
    await host.deploy("cups", "1.0.0", CUPS.replace("SIZES", ""))
    again = await call("POST", PLACE, cups())
    assert (again.status, again.json["same"]) == (200, True)
    assert len(await host.store.deployments()) == 1


async def test_a_zip_is_deployed_with_its_files(host, call):
    made = await call("POST", PLACE, body=packed(), **ZIP)
    assert made.status == 201, made.body
    source = host.engine.registry.live["cups"].source
    assert source.imports == {"sizes.py": "LARGE = 9\n"}
    assert source.origin == "upload:cups"
    assert (await call("POST", PLACE, body=packed(), **ZIP)).status == 200


async def test_an_address_is_fetched_by_the_host(host, call, tmp_path):
    (tmp_path / "cups.py").write_text('__version__ = "1.3.0"\n' + cups()["text"])
    made = await call("POST", PLACE, {"source": "cups.py"})
    assert made.json["deployment"]["version"] == "1.3.0"


async def test_a_plan_changes_nothing(host, call):
    await call("POST", PLACE, cups())
    before = host.engine
    gone = CUPS.replace('endpoint="cups"', 'endpoint="mugs"')
    for target, body in ((f"{PLACE}/plan", cups("1.1.0", gone)),
                         (PLACE, cups("1.1.0", gone, plan=True))):  # fmt: skip
        answer = await call("POST", target, body)
        assert answer.status == 200
        plan = answer.json["plan"]
        assert plan["breaks"][0]["text"].startswith("cups.Cup is now at /aegis/api/models/mugs")
        assert plan["standing"][0]["needs"] == "2.0.0"
        assert answer.json["deployment"] is None
    answer = await call("POST", f"{PLACE}?plan=true", body=packed("1.1.0"), **ZIP)
    assert answer.json["plan"]["standing"][0]["how"] == "changed"
    assert host.engine is before


async def test_a_gate_that_refuses_is_a_conflict_with_the_figures(measured, call):
    answer = await call("POST", PLACE, cups("1.1.0", LONG, gate={"last": 50}))
    assert answer.status == 409
    problem = answer.json
    assert problem["type"] == "urn:aegis:problem:GateError"
    assert problem["rehearsal"]["differ"] == 1
    assert problem["rehearsal"]["diverging"][0]["kind"] == "flow"
    assert await serves(measured) == {"cups": "1.0.0"}
    answer = await call("POST", PLACE, cups("1.1.0", LONG, gate={"differ": 1}))
    assert answer.status == 201
    assert answer.json["rehearsal"]["differ"] == 1


async def test_the_gate_of_a_zip_is_in_its_query(measured, call):
    body = packed("1.1.0", LONG)
    assert (await call("POST", f"{PLACE}?gate=true", body=body, **ZIP)).status == 409
    assert (await call("POST", f"{PLACE}?last=9&differ=0", body=body, **ZIP)).status == 409
    plan = await call("POST", f"{PLACE}/plan?gate=true", body=body, **ZIP)
    assert (plan.status, plan.json["rehearsal"]["differ"]) == (200, 1)
    assert (await call("POST", f"{PLACE}?differ=1", body=body, **ZIP)).status == 201


async def lines(call, *args, **more):
    answer = await call(*args, accept="application/x-ndjson", **more)
    assert answer.headers["Content-Type"] == "application/x-ndjson"
    return [json.loads(piece) async for piece in answer.response.stream()]


async def test_who_wants_lines_hears_how_far_it_is_and_then_the_answer(measured, call):
    told = await lines(call, "POST", PLACE, cups("1.1.0", CUPS + "\n#\n", gate=True))
    *progress, last = told
    assert {one["kind"] for one in progress} == {"progress"}
    assert progress[-1]["what"] == "gate"
    assert last["kind"] == "result"
    assert last["answer"]["rehearsal"]["same"] == 6
    assert last["answer"]["deployment"]["version"] == "1.1.0"
    *_, last = await lines(call, "POST", PLACE, cups("1.2.0", LONG, gate=True))
    assert last["kind"] == "problem"
    assert last["problem"]["rehearsal"]["differ"] == 1
    *_, last = await lines(call, "POST", PLACE, cups("1.2.0", CUPS + "1 / 0"))
    assert last["problem"]["status"] == 422


async def test_lines_are_not_kept_for_a_key(measured, call):
    more = {"accept": "application/x-ndjson", "idempotency_key": "k"}
    assert (await call("POST", PLACE, cups("1.1.0"), **more)).status == 400
    assert await serves(measured) == {"cups": "1.0.0"}


async def test_who_breaks_off_ends_the_gate_and_nothing_is_deployed(measured, call):
    slow = CUPS.replace("def measure", "async def measure").replace(
        "        return self.update", "        import asyncio\n        await asyncio.sleep(60)\n"
        "        return self.update",
    )  # fmt: skip
    answer = await call(
        "POST", PLACE, cups("1.1.0", slow, gate=True), accept="application/x-ndjson"
    )
    pieces = answer.response.stream()
    assert json.loads(await anext(pieces))["kind"] == "progress"
    await pieces.aclose()
    await asyncio.sleep(0.05)
    assert await serves(measured) == {"cups": "1.0.0"}
    assert len(measured.engine.residents) == 1


async def test_a_key_stands_for_one_deploy_and_one_rollback(host, call):
    await call("POST", PLACE, cups())
    first = await call("POST", PLACE, cups("1.1.0"), idempotency_key="k1")
    again = await call("POST", PLACE, cups("1.1.0"), idempotency_key="k1")
    assert (first.status, again.status) == (201, 201)
    assert again.headers["Idempotency-Replayed"] == "true"
    assert again.json == first.json
    other = await call("POST", PLACE, cups("1.2.0"), idempotency_key="k1")
    assert other.status == 422
    target = "/aegis/api/components/cups/rollback"
    for _ in range(3):
        back = await call("POST", target, idempotency_key="k2")
        assert back.json["deployment"]["version"] == "1.0.0"
    assert await serves(host) == {"cups": "1.0.0"}
    assert (await call("POST", target)).json["deployment"]["version"] == "1.1.0"


async def test_what_was_deployed_is_paged_the_newest_first(host, call):
    for n in range(5):
        await call("POST", PLACE, cups(f"1.{n}.0"))
    seen, before = [], ""
    while True:
        page = (await call("GET", f"{PLACE}?limit=2{before}")).json
        seen += [one["number"] for one in page["items"]]
        if page["next"] is None:
            break
        before = f"&before={page['next']}"
    assert seen == [5, 4, 3, 2, 1]
    assert (await call("GET", f"{PLACE}?component=nobody")).json["items"] == []
    assert (await call("GET", f"{PLACE}/3")).json["version"] == "1.2.0"
    assert (await call("GET", f"{PLACE}/9")).status == 404
    assert (await call("GET", f"{PLACE}/plan")).status == 405


async def test_versions_rollback_and_undeploy(host, call):
    await call("POST", PLACE, cups())
    await call("POST", PLACE, cups("1.1.0"))
    found = (await call("GET", "/aegis/api/components/cups/versions")).json
    assert found["serves"].startswith("cups@1.1.0+")
    assert found["previous"].startswith("cups@1.0.0+")
    assert [one["version"] for one in found["deployments"]] == ["1.1.0", "1.0.0"]
    back = await call("POST", "/aegis/api/components/cups/rollback")
    assert back.json["deployment"]["who"] == "rollback"
    assert await serves(host) == {"cups": "1.0.0"}
    assert (await call("DELETE", "/aegis/api/components/cups")).status == 204
    assert await serves(host) == {}
    for method, place in (("DELETE", ""), ("POST", "/rollback")):
        assert (await call(method, f"/aegis/api/components/cups{place}")).status == 404
    assert (await call("GET", "/aegis/api/components/nobody/versions")).status == 404


async def test_what_is_sent_must_be_trusted_under_its_name(host, call, caller):
    tea = {"name": "tea", "version": "1.0.0", "text": "from aegis import Model\n"}
    zipped = packed(extra={"aegis.toml": '[component]\nname="tea"\nversion="1.0.0"\n'
                                         'models=["cups.py"]\n'})  # fmt: skip
    for target in (PLACE, f"{PLACE}/plan"):
        assert (await call("POST", target, tea)).status == 403
        assert (await call("POST", target, body=zipped, **ZIP)).status == 403
    assert await serves(host) == {}
    async with Host(store=MemoryStore(), clock=SystemClock(), loader=PythonLoader()) as bare:
        answer = await caller(Router(bare, token=None))("POST", PLACE, cups())
        assert (answer.status, answer.json["title"]) == (403, "Not trusted")


async def test_without_the_token_nothing_is_told_or_done(host, caller):
    call = caller(Router(host, token="secret"))
    for method, target in (
        ("POST", PLACE), ("POST", f"{PLACE}/plan"), ("GET", PLACE), ("GET", f"{PLACE}/1"),
        ("GET", "/aegis/api/components/cups/versions"), ("DELETE", "/aegis/api/components/cups"),
        ("POST", "/aegis/api/components/cups/rollback"),
    ):  # fmt: skip
        assert (await call(method, target, cups())).status == 401
    router = call.router
    assert router.most(PLACE, {}) == router.max_body
    assert router.most(PLACE, {"authorization": "Bearer wrong"}) == router.max_body
    assert router.most(PLACE, {"authorization": "Bearer secret"}) == 32 << 20
    assert router.most(f"{PLACE}?token=secret", {}) == 32 << 20
    assert router.most("/aegis/api/import", {"authorization": "Bearer secret"}) == router.max_body


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({}, 422, "a deploy has a `source`"),
        ({"name": "cups", "version": "1.0.0"}, 422, "a deploy has a `source`"),
        ({**cups(), "source": "cups.py"}, 422, "a deploy has a `source`"),
        (cups("1"), 422, "matching regex"),
        (cups(gate={"last": 0}), 422, "a gate tries 1 flow or more"),
        (cups(gate={"lasst": 3}), 422, "unknown field"),
        (cups(gat=1), 422, "unknown field"),
        (cups(text="def ("), 422, "refused"),
        (cups(text="import nowhere_at_all"), 422, "nowhere_at_all"),
        (cups(imports={"../x.py": ""}), 422, ""),
        ({"source": "nowhere.py"}, 502, "there is no"),
        ({"source": "nosuch:thing"}, 422, ""),
    ],
)
async def test_a_body_that_is_wrong_says_what_and_changes_nothing(host, call, body, status, said):
    answer = await call("POST", PLACE, body)
    assert answer.status == status, answer.body
    assert said in answer.json["detail"]
    assert await serves(host) == {}


@pytest.mark.parametrize(
    "body", [b"", b"PK", b"{}", packed()[:-30], packed().replace(b"cups", b"cu/s")]
)
async def test_a_zip_that_is_none_is_refused(host, call, body):
    answer = await call("POST", PLACE, body=body, **ZIP)
    assert 400 <= answer.status < 500, answer.body
    assert await serves(host) == {}


@pytest.mark.parametrize(
    "query", ["gate=yes", "last=x", "last=0", "lasst=3", "plan=1&plan=1", "seconds=nan"]
)
async def test_a_query_that_is_wrong_is_refused(host, call, query):
    answer = await call("POST", f"{PLACE}?{query}", body=packed(), **ZIP)
    assert 400 <= answer.status < 500, answer.body
    assert await serves(host) == {}


async def test_answers_are_what_openapi_says(measured, call):
    document = json.loads(openapi(measured.engine.registry))
    asked = {**document["components"]["schemas"]["Asked"], "components": document["components"]}
    for answer in (
        await call("POST", f"{PLACE}/plan", cups("1.1.0", LONG, gate=True)),
        await call("POST", PLACE, cups("1.1.0", LONG, gate={"differ": 1})),
    ):
        jsonschema.validate(answer.json, asked)
    for path in (PLACE, f"{PLACE}/plan", f"{PLACE}/{{number}}", "/aegis/api/components/{name}",
                 "/aegis/api/components/{name}/rollback",
                 "/aegis/api/components/{name}/versions"):  # fmt: skip
        assert path in document["paths"]

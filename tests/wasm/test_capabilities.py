"""What a guest may ask of the host beyond its own parts is granted or absent, and recorded."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from aegis.bootstrap import build_host
from aegis.configuration import Config
from aegis.core.component import Source
from aegis.core.errors import AegisError, ComponentError, ConflictError, GrantError, GuestError
from aegis.core.flow import FlowState, StepState
from aegis.core.signature import Signed
from aegis.engine.host import Host
from aegis.engine.powers import Asker
from aegis.engine.work import Work
from aegis.testing import EagerClock, memory_host
from tests.wasm.asking import Ask, Pieces, ask, asking
from tests.wasm.modules import source

ALL = {"host.clock", "host.random", "host.keys"}


def probe(
    commands: dict[str, Pieces] | None = None,
    ports: dict[str, Pieces] | None = None,
    *,
    name: str = "probe",
    version: str = "1.0.0",
    room: int = 64 << 10,
    said: dict[str, Any] | None = None,
    **more: Any,
) -> Source:
    """A component of one model: what its functions are answered is in the field `answer`."""
    description = {
        "name": name,
        "version": version,
        "models": {
            "Probe": {
                "fields": {"answer": {"default": None}, "n": {"type": "integer", "default": 0}},
                "commands": said or {command: {} for command in commands or {}},
                "ports": {
                    port: {"consumes": ["probe.created"], "retries": 3, "backoff": 0.01}
                    for port in ports or {}
                },
            }
        },
        **more,
    }
    functions = {
        f"Probe.{function}": ('{"record":{"answer":', *pieces, "}}")
        for function, pieces in {**(commands or {}), **(ports or {})}.items()
    }
    return source(name, asking(description, functions, room=room), version)


async def told(host: Host, command: str, name: str = "Probe") -> Any:
    """What a command of a new record is answered."""
    record = await host.create(name)
    return (await host.call(record, command)).answer


# Keys


async def test_a_value_is_read_back_in_the_unit_of_work_and_after_it() -> None:
    keys = probe(
        {
            "first": ("[", ask("keys.get", "k"), ",", ask("keys.set", "k", "1é", quietly=True),
                      ask("keys.get", "k"), ",", ask("keys.list", "", 9), "]"),
            "second": ("[", ask("keys.get", "k"), ",", ask("keys.set", "k", None, quietly=True),
                       ask("keys.get", "k"), ",", ask("keys.list", "", 9), "]"),
        }
    )  # fmt: skip
    async with memory_host() as host:
        await host.deploy(keys, grants=["host.keys"])
        assert await told(host, "first") == [None, "1é", ["k"]]
        assert host.store.kept("probe", "k") == "1é"
        assert await told(host, "second") == ["1é", None, []]
        assert host.store.kept("probe", "k") is None


async def test_what_fails_keeps_nothing() -> None:
    failing = probe({"fail": (ask("keys.set", "k", "1", quietly=True), ask("host.call", "x", ""))})
    async with memory_host() as host:
        await host.deploy(failing, grants=["host.keys"])
        with pytest.raises(AegisError, match="cannot reach"):
            await told(host, "fail")
        assert host.store.kept("probe", "k") is None


@pytest.mark.parametrize(
    ("question", "words"),
    [
        (ask("keys.get", ""), "a key is not empty"),
        (ask("keys.get", "é" * 129), "a key has 256 bytes at most"),
        (ask("keys.set", "é" * 129, "1"), "a key has 256 bytes at most"),
        (ask("keys.list", "x" * 257, 9), "a key has 256 bytes at most"),
        (ask("keys.set", "k", "é" * (32 << 10) + "x"), "65,537 bytes, and 65,536 are the most"),
    ],
)
async def test_what_is_too_long_for_a_key_or_a_value_is_told(question: Ask, words: str) -> None:
    async with memory_host() as host:
        await host.deploy(probe({"go": (question,)}), grants=["host.keys"])
        with pytest.raises(GuestError, match=words):
            await told(host, "go")


async def test_a_component_has_so_many_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aegis.engine.keys.MOST", 2)
    many = probe(
        {
            "fill": ([
                *(ask("keys.set", key, "1", quietly=True) for key in "abaab"),
                ask("keys.set", "a", None, quietly=True), ask("keys.set", "c", "1", quietly=True),
                ask("keys.list", "", 9),
            ]),
            "more": (ask("keys.set", "d", "1", quietly=True), "1"),
            "again": (ask("keys.set", "b", "2", quietly=True), ask("keys.get", "b")),
        }
    )  # fmt: skip
    async with memory_host() as host:
        await host.deploy(many, grants=["host.keys"])
        assert await told(host, "fill") == ["b", "c"]
        with pytest.raises(GuestError, match="probe has 2 keys, and that is the most"):
            await told(host, "more")
        assert await told(host, "again") == "2"


async def test_components_have_keys_of_their_own_and_versions_share_them() -> None:
    def version(number: str, name: str = "probe") -> Source:
        functions = {
            "set": (ask("keys.set", "k", number, quietly=True), "1"),
            "get": (ask("keys.get", "k"),),
        }
        return probe(functions, name=name, version=number)

    async with memory_host() as host:
        await host.deploy(version("1.0.0"), grants=["host.keys"])
        await told(host, "set")
        await host.deploy(version("1.1.0"))
        assert await told(host, "get") == "1.0.0"
        await host.deploy(version("1.0.0", "other"), grants=["host.keys"])
        assert await told(host, "get", "other.Probe") is None


async def test_two_that_read_a_key_before_they_set_it_do_not_overwrite_each_other() -> None:
    async with memory_host() as host:
        await host.deploy(probe({"go": (ask("keys.get", "k"),)}), grants=["host.keys"])
        engine = host.engine
        first, second, blind = (Work(key=key, label="probe") for key in "abc")
        for work in (first, second):
            assert await engine.powers.get(Asker("probe", work), "k") is None
        for work in (first, second, blind):
            await engine.powers.set(Asker("probe", work), "k", work.key)
        await engine._ledger.settle(engine.registry, first)
        with pytest.raises(ConflictError, match="the key 'k' was set by another meanwhile"):
            await engine._ledger.settle(engine.registry, second)
        assert host.store.kept("probe", "k") == "a"
        await engine._ledger.settle(engine.registry, blind)
        assert host.store.kept("probe", "k") == "c"


async def test_commands_that_count_at_the_same_time_count_each_one() -> None:
    """A command that asked nobody is run again with what another one has kept meanwhile."""

    def count(n: int) -> Pieces:
        return (ask("keys.get", "n"), ask("keys.set", "n", str(n), quietly=True))

    counting = probe({f"set{n}": count(n) for n in range(4)})
    async with memory_host() as host:
        await host.deploy(counting, grants=["host.keys"])
        records = [await host.create("Probe") for _ in range(4)]
        done = await asyncio.gather(
            *(host.call(record, f"set{n}") for n, record in enumerate(records))
        )
        # Each has seen what one other had set, or nothing: they came one after the other.
        assert len({one.answer for one in done}) == 4


async def test_what_is_kept_goes_with_the_data_of_a_component_and_is_in_a_backup(
    tmp_path: Path,
) -> None:
    keeping = probe({"go": (ask("keys.set", "k", "1", quietly=True), "1")})
    config = Config(data=tmp_path / "data")
    async with build_host(config) as host:
        await host.deploy(keeping, grants=["host.keys"])
        await told(host, "go")
        await host.backup(str(tmp_path / "copy"))
        await host.reset("probe")
        assert host.store.kept("probe", "k") is None
    async with build_host(Config(data=tmp_path / "copy")) as host:
        assert host.store.kept("probe", "k") == "1"


async def test_a_step_that_fails_keeps_nothing_and_the_attempt_that_succeeds_does() -> None:
    """The first attempt sets a key and is denied another thing, the later one is not."""
    step = ("[", ask("keys.get", "k"), ask("keys.set", "k", "1", quietly=True), ",",
            ask("http.fetch", '{"url":"http://127.0.0.1:9/"}'), "]")  # fmt: skip
    failing = probe(ports={"step": step}, http=["http://127.0.0.1:9"])
    async with memory_host() as host:
        await host.deploy(failing, grants=["host.keys", "host.http=http://127.0.0.1:9"])
        record = await host.create("Probe")
        await host.wait(record, 5)
        ((flow, _),) = await host.flows(record)
        assert flow.state is not FlowState.COMPLETED
        assert host.store.kept("probe", "k") is None


# The time and chance


async def test_the_time_is_that_of_the_hosts_clock_and_chance_is_not_the_same_twice() -> None:
    asks = probe({"go": ('{"at":', ask("clock.now"), ',"dice":', ask("random.bytes", 16), "}")})

    class Late(EagerClock):
        def now(self) -> Any:
            return super().now().replace(year=2001)

    async with memory_host(clock=Late()) as host:
        await host.deploy(asks, grants=["host.clock", "host.random"])
        first, second = await told(host, "go"), await told(host, "go")
        assert 978_307_200_000 < first["at"] < 1_009_843_200_000
        assert len(bytes.fromhex(first["dice"])) == 16
        assert first["dice"] != second["dice"]


async def test_too_much_chance_ends_the_call_and_the_next_one_is_served() -> None:
    asks = probe({"much": (ask("random.bytes", 65537),), "fine": ("1",)})
    async with memory_host() as host:
        await host.deploy(asks, grants=["host.random"])
        with pytest.raises(GuestError, match="it asks for 65537 random bytes"):
            await told(host, "much")
        assert await told(host, "fine") == 1


# Grants


async def test_what_is_not_granted_is_refused_by_name_before_anything_serves() -> None:
    asks = probe({"go": (ask("clock.now"), ask("random.bytes", 1), ask("keys.get", "k"))})
    async with memory_host() as host:
        with pytest.raises(ComponentError) as caught:
            await host.deploy(asks)
        for grant in ALL:
            said = f'it asks for {grant}, and nobody granted it: host.grant("probe", "{grant}")'
            assert said in str(caught.value)
        assert host.access() == []
        await host.deploy(asks, grants=sorted(ALL))
        (status,) = host.access("probe")
        assert set(status.granted) == set(status.asked or ()) == ALL
    async with memory_host(grants={"probe": sorted(ALL)}) as host:
        await host.deploy(asks)


@pytest.mark.parametrize(
    ("question", "grant"),
    [
        (ask("clock.now"), "host.clock"),
        (ask("random.bytes", 4), "host.random"),
        (ask("keys.get", "k"), "host.keys"),
        (ask("keys.set", "k", "1"), "host.keys"),
    ],
)
async def test_what_is_revoked_is_gone_with_the_next_use_and_its_step_is_not_tried_again(
    question: Ask, grant: str
) -> None:
    async with memory_host() as host:
        await host.deploy(
            probe({"go": ("[", question, "]")}, {"step": ("[", question, "]")}), grants=[grant]
        )
        await told(host, "go")
        await host.revoke("probe", grant)
        with pytest.raises(GrantError, match=f"probe may not use {grant.partition('.')[2]} of"):
            await told(host, "go")
        record = await host.create("Probe")
        await host.wait(record, 5)
        ((flow, (step,)),) = await host.flows(record)
        assert flow.state is FlowState.COMPENSATED
        assert (step.state, step.attempts) == (StepState.FAILED, 1)
        assert "that right was taken from it" in str(step.error)
        await host.grant("probe", grant)
        await told(host, "go")


async def test_grants_of_the_host_are_in_the_audit_log_and_outlive_a_restart(
    tmp_path: Path,
) -> None:
    asks = probe({"go": (ask("clock.now"),)})
    config = Config(data=tmp_path / "data", grants={"probe": ("host.random",)})
    async with build_host(config) as host:
        await host.deploy(asks, grants=["host.clock"], who="me")
        await host.grant("probe", "host.keys", who="me")
        await host.revoke("probe", "host.keys", who="you")
        said = [(str(one.action), one.who, one.detail) for one in await host.audit()]
        for told_of in (("grant", "me", "host.clock"), ("revoke", "you", "host.keys")):
            assert told_of in said
    async with build_host(config) as host:
        await host.deploy(asks)
        assert await told(host, "go") > 0
        (status,) = host.access("probe")
        assert set(status.granted) == {"host.clock", "host.random"}


async def test_a_denial_that_a_guest_gets_over_is_no_failure() -> None:
    asks = probe({"go": ('{"x":"', ask("keys.get", "k", caught=True), '"}')})
    async with memory_host() as host:
        await host.deploy(asks, grants=["host.keys"])
        await host.revoke("probe", "host.keys")
        assert "may not use keys" in (await told(host, "go"))["x"]


# Configuration

PART: dict[str, Any] = {
    "models": {
        "Probe": {
            "fields": {"answer": {"default": None}},
            "commands": {name: {"uses": {"it": "It"}} for name in ("go", "boom")},
        }
    },
    "protocols": {"It": {"say": {"gives": {}}, "trap": {}}},
    "adapters": {
        "Part": {
            "does": ["It"],
            "config": {
                "part.key": {"type": "string", "private": True},
                "part.size": {"type": "integer", "default": 3},
            },
        }
    },
}


async def test_a_part_reads_its_configuration_and_what_is_private_is_in_no_error_or_trap(
    caplog: pytest.LogCaptureFixture,
) -> None:
    functions: dict[str, Pieces] = {
        "Probe.go": ('{"record":{"answer":', ask("host.call", "it.say", "{}"), "}}"),
        "Probe.boom": (ask("host.call", "it.trap", "{}"),),
        "Part.say": ("[", ask("host.config", "part.key"), ",", ask("host.config", "part.size"),
                     ',"', ask("host.config", "else", caught=True), '"]'),
        "Part.trap": (ask("host.config", "part.key", quietly=True), ask("keys.get", "")),
    }  # fmt: skip
    wat = asking({"name": "probe", "version": "1.0.0", **PART}, functions)
    # Where it has asked it ends itself.
    wat = wat.replace("(return (local.get $r))", "unreachable")
    with caplog.at_level("DEBUG"):
        async with memory_host(values={"part.key": "hush-hush"}) as host:
            await host.deploy(source("probe", wat), grants=["host.keys"])
            answer = await told(host, "go")
            assert answer[:2] == ["hush-hush", 3]
            assert "no configuration value 'else'" in answer[2]
            with pytest.raises(GuestError, match="unreachable") as caught:
                await told(host, "boom")
            guest = host.engine.registry.live["probe"].guest
            assert guest is not None
            (trap, *_) = guest.traps
            assert trap.function == "Part.trap"
            shown = (
                repr(trap),
                repr(guest.traps),
                str(caught.value),
                repr(trap.asked),
                caplog.text,
            )
            assert not [text for text in shown if "hush" in text]
            assert "hush" not in repr(host.engine.residents)
            # It is made again with what it was told then, and the configuration of now.
            with pytest.raises(GuestError, match="unreachable"):
                await asyncio.to_thread(guest.replay, trap)
    async with memory_host() as host:
        with pytest.raises(ComponentError, match=r"Part needs the configuration value 'part.key'"):
            await host.deploy(source("probe", wat), grants=["host.keys"])


# Inline


async def test_what_runs_inline_is_told_the_time_and_chance_and_nothing_that_takes_time() -> None:
    asks = probe({"go": ('{"at":', ask("clock.now"), ',"dice":', ask("random.bytes", 4), "}")},
                 inline=True)  # fmt: skip
    signed = replace(asks, signed=Signed(key="k", time="2026-01-01T00:00:00.000Z"))
    async with memory_host() as host:
        await host.deploy(signed, grants=["host.clock", "host.random"])
        found = await told(host, "go")
        assert found["at"] > 1_700_000_000_000
        assert len(found["dice"]) == 8
        await host.revoke("probe", "host.random")
        with pytest.raises(GrantError, match="may not use random of the host"):
            await told(host, "go")
        slow = probe({"go": (ask("keys.get", "k"),)}, inline=True, version="1.1.0")
        with pytest.raises(ComponentError, match="what takes time"):
            await host.deploy(replace(slow, signed=signed.signed), grants=["host.keys"])

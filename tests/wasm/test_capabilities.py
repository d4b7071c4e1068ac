"""What a guest may ask of the host beyond its own parts is granted or absent, and recorded."""

from __future__ import annotations

from typing import Any

import pytest

from aegis.core.component import Source
from aegis.core.errors import AegisError, ComponentError, GrantError, GuestError
from aegis.core.flow import FlowState, StepState
from aegis.engine.host import Host
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
    **more: Any,
) -> Source:
    """A component of one model: what its functions are answered is in the field `answer`."""
    said = {
        "name": name,
        "version": version,
        "models": {
            "Probe": {
                "fields": {"answer": {"default": None}, "n": {"type": "integer", "default": 0}},
                "commands": {command: {} for command in commands or {}},
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
    return source(name, asking(said, functions, room=room), version)


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


async def test_a_denial_that_a_guest_gets_over_is_no_failure() -> None:
    asks = probe({"go": ('{"x":"', ask("keys.get", "k", caught=True), '"}')})
    async with memory_host() as host:
        await host.deploy(asks, grants=["host.keys"])
        await host.revoke("probe", "host.keys")
        assert "may not use keys" in (await told(host, "go"))["x"]

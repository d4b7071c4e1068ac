"""A step in WebAssembly replays with the time, the chance and the answers of then."""

from __future__ import annotations

from typing import Any

from aegis.core.component import Source
from aegis.core.flow import FlowState
from aegis.core.rehearsal import Gate
from aegis.engine.host import Host
from aegis.testing import memory_host
from tests.wasm.asking import Pieces, ask
from tests.wasm.partner import Server, request
from tests.wasm.test_capabilities import probe

GRANTS = ("host.clock", "host.random", "host.keys")


def stepping(partner: Server, version: str = "1.0.0", *more: Any, path: str = "echo") -> Source:
    """A component whose step asks for everything."""
    step: Pieces = (
        '{"at":', ask("clock.now"), ',"dice":', ask("random.bytes", 16),
        ',"http":', ask("http.fetch", request(f"{partner.address}/{path}", method="POST", body="x")),
        ',"was":', ask("keys.get", "k"), ask("keys.set", "k", "1", quietly=True),
        ',"is":', ask("keys.get", "k"), ',"all":', ask("keys.list", "", 9), *more, "}",
    )  # fmt: skip
    return probe(ports={"step": step}, version=version, http=[partner.address])


async def stepped(host: Host) -> Any:
    """A record whose flow has ended."""
    record = await host.create("Probe")
    flow = await host.wait(record, 5)
    assert flow is not None
    return flow


async def test_a_replay_asks_nobody_and_comes_to_the_same(partner: Server) -> None:
    async with memory_host() as host:
        grants = [*GRANTS, f"host.http={partner.address}"]
        await host.deploy(stepping(partner), grants=grants)
        first, second = await stepped(host), await stepped(host)
        assert (first.state, second.state) == (FlowState.COMPLETED, FlowState.COMPLETED)
        assert host.store.kept("probe", "k") == "1"
        asked = len(partner.asked)
        for flow in (first, second, first):
            replay = await host.replay(flow.id)
            assert (replay.same, replay.stopped, replay.reason) == (
                True,
                False,
                "it came to its end",
            )
        assert len(partner.asked) == asked == 2


async def test_a_candidate_that_asks_for_more_than_was_recorded_is_told_of(
    partner: Server,
) -> None:
    async with memory_host() as host:
        grants = [*GRANTS, f"host.http={partner.address}"]
        await host.deploy(stepping(partner), grants=grants)
        flow = await stepped(host)
        await host.deploy(stepping(partner, "1.1.0", ',"again":', ask("clock.now")))
        replay = await host.replay(flow.id)
        assert replay.stopped
        assert "Probe.step" in replay.reason
        assert "asked for host.clock.now(" in replay.reason
        assert "it was asked less often then" in replay.reason
        assert (await host.replay(flow.id, "1.0.0")).same
        assert len(partner.asked) == 1


async def test_what_failed_then_fails_again_in_a_replay(partner: Server) -> None:
    async with memory_host() as host:
        grants = [*GRANTS, f"host.http={partner.address}"]
        await host.deploy(stepping(partner, path="broken"), grants=grants)
        flow = await stepped(host)
        assert flow.state is FlowState.COMPENSATED
        asked = len(partner.asked)
        replay = await host.replay(flow.id)
        assert (replay.same, replay.stopped) == (True, False), replay
        assert len(partner.asked) == asked == 4


async def test_what_ran_out_of_time_does_so_again_in_a_replay(partner: Server) -> None:
    async with memory_host(values={"ports.timeout": 0.2, "ports.retries": 0}) as host:
        grants = [*GRANTS, f"host.http={partner.address}"]
        await host.deploy(stepping(partner, path="never"), grants=grants)
        flow = await stepped(host)
        replay = await host.replay(flow.id)
        assert (replay.same, replay.stopped) == (True, False), replay


async def test_a_right_that_was_lacking_then_is_lacking_in_a_replay(
    partner: Server,
) -> None:
    async with memory_host() as host:
        grants = [*GRANTS, f"host.http={partner.address}"]
        await host.deploy(stepping(partner), grants=grants)
        await host.revoke("probe", "host.keys")
        flow = await stepped(host)
        assert flow.state is FlowState.COMPENSATED
        await host.grant("probe", "host.keys")
        replay = await host.replay(flow.id)
        assert (replay.same, replay.stopped) == (True, False), replay


async def test_a_gate_asks_nobody_and_is_not_held_up_by_what_was_not_recorded(
    partner: Server,
) -> None:
    """What commands asked is not recorded: they are tried with the time of then and no partner."""
    url = request(f"{partner.address}/echo")

    def version(number: str, *more: Any) -> Source:
        commands: dict[str, Pieces] = {
            "look": ("[", ask("clock.now"), ",", ask("keys.get", "k"), *more, "]"),
            "call": (ask("http.fetch", url),),
        }
        said = {command: {"produces": f"probe.{command}ed"} for command in commands}
        return probe(commands, version=number, http=[partner.address], said=said)

    async with memory_host() as host:
        grants = [*GRANTS, f"host.http={partner.address}"]
        await host.deploy(version("1.0.0"), grants=grants)
        record = await host.create("Probe")
        for command in ("look", "call"):
            await host.call(record, command)
        asked = len(partner.asked)
        rehearsal = await host.rehearse(version("1.1.0"), Gate(seconds=20))
        assert rehearsal.seconds < 4
        assert (rehearsal.raises, rehearsal.unreached) == (0, 0)
        assert len(partner.asked) == asked == 1

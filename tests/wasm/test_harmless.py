"""What a hostile component gives the host is no more than an error of its own step."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from aegis.core.errors import AegisError, ComponentError, GuestError
from aegis.core.signature import Signed
from aegis.testing import memory_host
from tests.wasm.modules import component, module, source

BY = Signed(key="a key", time="2026-01-01T00:00:00Z")
DEEP = "[" * 100_000
ANSWERS = {
    "deep": DEEP,
    "deep record": '{"record":{"text":' + DEEP,
    "deep refusal": '!{"refused":' + DEEP,
    "deep emit": '!{"refused":"x","emit":{"name":"thing.said","data":' + DEEP,
    "wrong record": '{"record":{"text":3,"id":"other"}}',
    "huge error": "!" + "no " * 100_000,
    "no object": "3",
    "surrogate": '{"record":{"text":"\\ud800"}}',
}
FIELDS = {"text": {"type": "string", "default": ""}, "any": {"default": None}}
SAID: dict[str, Any] = {
    "name": "thing",
    "version": "1.0.0",
    "limits": {"seconds": 0.05},
    "models": {
        "Thing": {
            "endpoint": "things",
            "fields": FIELDS,
            "commands": {name.replace(" ", "_"): {} for name in ANSWERS},
        }
    },
}


@pytest.mark.parametrize("make", [module, component])
async def test_an_answer_of_any_kind_fails_its_own_step_alone(make: Any) -> None:
    answers = {f"Thing.{name.replace(' ', '_')}": text for name, text in ANSWERS.items()}
    async with memory_host() as host:
        await host.deploy(source("thing", make(SAID, answers, pages=40)))
        one = await host.create("Thing", text="as it was")
        for name in ANSWERS:
            with pytest.raises(AegisError) as caught:
                await host.call(one, name.replace(" ", "_"))
            assert len(str(caught.value)) < 20_000
            assert (await host.get("Thing", one.id)).text == "as it was"


async def test_a_component_that_never_describes_itself_is_refused_and_others_serve() -> None:
    loops = module(SAID).replace(
        '(func (export "aegis_describe") (result i64)',
        '(func (export "aegis_describe") (result i64) (loop br 0)',
    )
    async with memory_host() as host:
        await host.deploy(source("thing", module(SAID, {"Thing.no_object": ""})))
        one = await host.create("Thing")
        deploying = asyncio.create_task(host.deploy(source("thing", loops)))
        while not deploying.done():
            await host.call(one, "no_object")
        with pytest.raises(ComponentError, match=r"describe\(\) was stopped: it computed"):
            await deploying


async def test_what_runs_on_the_hosts_own_thread_gets_a_hundredth_of_a_second() -> None:
    said = {**SAID, "limits": {}, "inline": True}
    spins = module(said, bodies={"Thing.deep": "(loop br 0) (i64.const 0)"})
    async with memory_host() as host:
        await host.deploy(replace(source("thing", spins), signed=BY))
        one = await host.create("Thing")
        with pytest.raises(GuestError, match=r"longer than 0\.01 s"):
            await host.call(one, "deep")
        greedy = module({**said, "limits": {"seconds": 0.5}})
        with pytest.raises(ComponentError, match=r"inline for 0\.5 s: 0\.05 is the most"):
            await host.deploy(replace(source("thing", greedy), signed=BY))

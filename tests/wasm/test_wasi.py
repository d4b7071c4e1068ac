"""WASI is there for those that need it and were granted it, and there is nothing in it."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
import wasmtime

from aegis.core.component import Source
from aegis.core.errors import ComponentError, GuestError
from aegis.testing import memory_host
from tests.wasm.modules import escaped, module, source
from tests.wasm.test_capabilities import told

P1 = "wasi_snapshot_preview1"
SAID: dict[str, Any] = {
    "name": "probe",
    "version": "1.0.0",
    "models": {
        "Probe": {
            "fields": {"answer": {"default": None}},
            "commands": {"go": {}, "fine": {}, "ask": {}},
        }
    },
}
PANIC = "panic: no such order\n\ngoroutine 1 [running]:\n"
# What wants something of WASI, as a number: how many there are, or an error of it.
QUESTIONS = {
    "environ_sizes_get": "i32 i32",
    "args_sizes_get": "i32 i32",
    "fd_prestat_get": "i32 i32",
    "sock_accept": "i32 i32 i32",
    "path_open": "i32 i32 i32 i32 i32 i64 i64 i32 i32",
}


def printing(text: str, *, end: str = "(i64.const 0)") -> Source:
    """A plain module whose command `go` prints, and then does `end`; `fine` prints as much."""
    said = f"""
        (func $print (local $at i32)
          (local.set $at (call $alloc (i32.const {len(text.encode())})))
          (memory.init $text (local.get $at) (i32.const 0) (i32.const {len(text.encode())}))
          (i32.store (i32.const 0) (local.get $at))
          (i32.store (i32.const 4) (i32.const {len(text.encode())}))
          (drop (call $write (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 16))))
        (data $text "{escaped(text)}")
        (func $go (result i64) (call $print) {end})
        (func $fine (result i64) (call $print) (i64.const 0))"""
    wat = module(
        SAID,
        imports=f"""
            (import "{P1}" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
            (import "{P1}" "proc_exit" (func $exit (param i32)))""",
        functions=said,
        bodies={"Probe.go": "(call $go)", "Probe.fine": "(call $fine)"},
        pages=8,
    )
    return source("probe", wat)


async def test_wasi_is_a_right_like_others_and_what_is_printed_comes_to_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with memory_host() as host:
        with pytest.raises(ComponentError, match=r"asks for host.wasi, and nobody granted it"):
            await host.deploy(printing("hello\n"))
        await host.deploy(printing("hello\nyou\x1b[0m"), grants=["host.wasi"])
        with caplog.at_level(logging.INFO, "aegis.guest.probe"):
            await told(host, "fine")
        assert [one.getMessage() for one in caplog.records if one.name == "aegis.guest.probe"] == [
            "hello",
            "you [0m",
        ]


@pytest.mark.parametrize("end", ["unreachable", "(call $exit (i32.const 2)) (i64.const 0)"])
async def test_a_panic_is_told_by_what_it_printed_and_the_next_call_is_served(end: str) -> None:
    async with memory_host() as host:
        await host.deploy(printing(PANIC, end=end), grants=["host.wasi"])
        for _ in range(2):
            with pytest.raises(GuestError, match=r"Probe.go was stopped: .*: panic: no such order"):
                await told(host, "go")
            assert await told(host, "fine") is None
        revision = host.engine.registry.live["probe"]
        assert revision.guest is not None
        trap = revision.guest.traps[-1]
        assert trap.printed == PANIC
        assert "order" not in repr(trap)


async def test_whoever_prints_without_end_has_the_last_of_it_kept(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with memory_host() as host:
        much = printing("x" * 99_999 + "\nthe end", end="unreachable")
        await host.deploy(much, grants=["host.wasi"])
        with pytest.raises(GuestError, match="the end"):
            await told(host, "go")
        logged = [one for one in caplog.records if one.name == "aegis.guest.probe"]
        assert sum(len(one.getMessage()) for one in logged) <= 16 << 10


@pytest.mark.parametrize("question", QUESTIONS)
async def test_there_are_no_files_arguments_environment_or_network_in_it(question: str) -> None:
    """A count is 0; what cannot be had at all is an error: 8 is a bad descriptor."""
    parameters = QUESTIONS[question]
    arguments = {
        "fd_prestat_get": "(i32.const 3) (i32.const 0)",
        "sock_accept": "(i32.const 3) (i32.const 0) (i32.const 8)",
        "path_open": "(i32.const 3) (i32.const 0) (i32.const 1024) (i32.const 1) (i32.const 0) "
        "(i64.const 2) (i64.const 2) (i32.const 0) (i32.const 8)",
    }.get(question, "(i32.const 0) (i32.const 4)")
    wat = module(
        SAID,
        imports=f'(import "{P1}" "{question}" (func $ask (param {parameters}) (result i32)))',
        functions=f"""
            (func $go (result i64) (local $r i32)
              (i32.store (i32.const 0) (i32.const 0))
              (local.set $r (call $ask {arguments}))
              (i32.store8 (i32.const 520) (i32.add (i32.const 48)
                (i32.add (local.get $r) (i32.load (i32.const 0)))))
              (i64.or (i64.shl (i64.const 500) (i64.const 32)) (i64.const 23)))
            (data (i32.const 500) "{{\\22record\\22:{{\\22answer\\22:0}}}}")""",
        bodies={"Probe.go": "(call $go)"},
    )
    async with memory_host() as host:
        await host.deploy(source("probe", wat), grants=["host.wasi"])
        assert await told(host, "go") == (0 if "sizes" in question else 8)


# A component of the Component Model that asks for its environment, arguments and files, and gives
# how many there are: `{"record":{"answer":[e,a,f]}}`.
P2 = """(component
  (import "wasi:cli/environment@0.2.0" (instance $environment
    (export "get-environment" (func (result (list (tuple string string)))))
    (export "get-arguments" (func (result (list string))))))
  (import "wasi:filesystem/types@0.2.0" (instance $types
    (export "descriptor" (type (sub resource)))))
  (alias export $types "descriptor" (type $descriptor))
  (import "wasi:filesystem/preopens@0.2.0" (instance $preopens
    (alias outer 1 $descriptor (type $d))
    (export "descriptor" (type $e (eq $d)))
    (export "get-directories" (func (result (list (tuple (own $e) string)))))))
  (core module $memory
    (memory (export "memory") 2)
    (global $free (mut i32) (i32.const 65536))
    (func (export "realloc") (param i32 i32 i32 i32) (result i32)
      (global.get $free)
      (global.set $free (i32.and (i32.add (i32.add (global.get $free) (local.get 3)) (i32.const 7))
        (i32.const -8)))))
  (core instance $m (instantiate $memory))
  (alias core export $m "memory" (core memory $mem))
  (alias core export $m "realloc" (core func $realloc))
  (core func $environ (canon lower (func $environment "get-environment")
    (memory $mem) (realloc $realloc)))
  (core func $args (canon lower (func $environment "get-arguments")
    (memory $mem) (realloc $realloc)))
  (core func $dirs (canon lower (func $preopens "get-directories")
    (memory $mem) (realloc $realloc)))
  (core module $code
    (import "m" "memory" (memory 2))
    (import "w" "environ" (func $environ (param i32)))
    (import "w" "args" (func $args (param i32)))
    (import "w" "dirs" (func $dirs (param i32)))
    (func (export "describe") (result i32)
      (i32.store (i32.const 0) (i32.const 2048)) (i32.store (i32.const 4) (i32.const {size}))
      (i32.const 0))
    (func $count (param $to i32) (param $list i32)
      (i32.store8 (local.get $to) (i32.add (i32.const 48) (i32.load offset=4 (local.get $list)))))
    (func (export "invoke") (param i32 i32 i32 i32) (result i32)
      (call $environ (i32.const 64)) (call $count (i32.const 1045) (i32.const 64))
      (call $args (i32.const 64)) (call $count (i32.const 1047) (i32.const 64))
      (call $dirs (i32.const 64)) (call $count (i32.const 1049) (i32.const 64))
      (i32.store (i32.const 0) (i32.const 0))
      (i32.store (i32.const 4) (i32.const 1024)) (i32.store (i32.const 8) (i32.const 29))
      (i32.const 0))
    (data (i32.const 1024) "{{\\22record\\22:{{\\22answer\\22:[x,x,x]}}}}")
    (data (i32.const 2048) "{said}"))
  (core instance $c (instantiate $code (with "m" (instance $m))
    (with "w" (instance (export "environ" (func $environ)) (export "args" (func $args))
      (export "dirs" (func $dirs))))))
  (func (export "describe") (result string)
    (canon lift (core func $c "describe") (memory $mem) (realloc $realloc)))
  (func (export "invoke") (param "name" string) (param "input" string)
    (result (result string (error string)))
    (canon lift (core func $c "invoke") (memory $mem) (realloc $realloc))))"""


async def test_a_component_gets_as_little_of_it_as_a_plain_module() -> None:
    text = json.dumps(SAID)
    wat = P2.format(size=len(text.encode()), said=escaped(text))
    binary = bytes(wasmtime.wat2wasm(wat))
    async with memory_host() as host:
        asks = Source.of("probe", "1.0.0", wat, origin="test", binary=binary)
        with pytest.raises(ComponentError, match=r"asks for host.wasi, and nobody granted it"):
            await host.deploy(asks)
        await host.deploy(asks, grants=["host.wasi"])
        assert await told(host, "go") == [0, 0, 0]

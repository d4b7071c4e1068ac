"""What is no component of this contract is refused at plan, by name, and what serves goes on."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from aegis.adapters.components.polyglot import PolyglotLoader
from aegis.adapters.components.wasm import loader as loading
from aegis.adapters.components.wasm.machine import COMPONENT, MODULE
from aegis.adapters.sources.anywhere import Anywhere
from aegis.core.component import Source
from aegis.core.errors import AegisError, ComponentError
from aegis.engine.host import Host
from aegis.testing import memory_host
from tests.engine.shop import until
from tests.wasm.modules import escaped, module
from tests.wasm.shop import built

CLOCK = "aegis:component/clock@0.1.0"


def said(version: str = "2.0.0", **more: Any) -> dict[str, Any]:
    return {
        "name": "shop",
        "version": version,
        "models": {"Order": {"endpoint": "orders", "fields": {}, "commands": {"finish": {}}}},
        **more,
    }


def speaking(text: bytes) -> str:
    """WAT of a module whose describe() gives these bytes."""
    data = "".join(f"\\{byte:02x}" for byte in text)
    packed = (1024 << 32) | len(text)
    return (
        '(module (memory (export "memory") 1)'
        '(func (export "aegis_alloc") (param i32) (result i32) (i32.const 8))'
        f'(func (export "aegis_describe") (result i64) (i64.const {packed}))'
        '(func (export "aegis_invoke") (param i32 i32 i32 i32) (result i64) (i64.const 0))'
        f'(data (i32.const 1024) "{data}"))'
    )


def doing(body: str) -> str:
    """WAT of a module whose describe() does something else than describe."""
    wat = module(said())
    head, _, rest = wat.partition('(func (export "aegis_describe") (result i64)')
    _, _, tail = rest.partition("\n")
    return f'{head}(func $deep (result i64) {body}) (func (export "aegis_describe") (result i64) (call $deep))\n{tail}'


def importing(line: str) -> str:
    return module(said(), imports=line)


def component(imports: str = "", *, describe: str = "", exports: bool = True) -> str:
    """WAT of a component (as opposed to a plain module) that describes itself so."""
    text = json.dumps(said())
    core = f"""(core module $m
      (memory (export "memory") 1)
      (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 4096))
      (func (export "describe") (result i32) (i32.const 8))
      (func (export "invoke") (param i32 i32 i32 i32) (result i32) (i32.const 16))
      (data (i32.const 8) "\\00\\04\\00\\00\\{len(text) & 255:02x}\\{len(text) >> 8:02x}\\00\\00")
      (data (i32.const 1024) "{escaped(text)}"))
    (core instance $i (instantiate $m))
    (func $d (result {describe or "string"}) (canon lift (core func $i "describe")
      {"" if describe else '(memory (core memory $i "memory"))'}))
    (func $v (param "name" string) (param "input" string) (result (result string (error string)))
      (canon lift (core func $i "invoke") (memory (core memory $i "memory")) (realloc (core func $i "realloc"))))"""
    shown = '(export "describe" (func $d)) (export "invoke" (func $v))' if exports else ""
    return f"(component {imports} {core} {shown})"


@pytest.fixture
def sources(tmp_path: Path) -> Anywhere:
    return Anywhere(directory=tmp_path, loader=PolyglotLoader())


@pytest.fixture
async def host(sources: Anywhere) -> AsyncGenerator[Host]:
    """A host that serves version 1.0.0, and has nothing more at its end than it had."""
    async with memory_host(sources=sources) as host:
        wat = module(said("1.0.0"), {"Order.finish": "{}"})
        await host.deploy(Source.of("shop", "1.0.0", wat, binary=built(wat)))
        before = state()
        yield host
        await until(lambda: state() <= before, 20)  # what other tests left behind may go meanwhile
        live = host.engine.registry.live["shop"]
        assert live.version == "1.0.0"
        assert live.source.binary == built(wat)
        await host.call(await host.create("Order"), "finish")
        assert len(await host.store.deployments()) == 1


def state() -> set[str]:
    """Threads and component modules of this process, by name."""
    threads = {one.name for one in threading.enumerate() if one.name.startswith("aegis-")}
    threads.add("aegis-wasm-clock")  # one, when anything has run
    return threads | {name for name in sys.modules if name.startswith("aegis_components.")}


NOTHING = {
    "an ELF": (b"\x7fELF\x02\x01\x01" + bytes(64), "it is no WebAssembly"),
    "a zip": (b"PK\x03\x04" + bytes(64), "it is no WebAssembly"),
    "a text": (b"describe and invoke", "it is no WebAssembly"),
    "a WAT in the wrong file": (module(said()).encode(), "it is no WebAssembly"),
    "nothing": (b"", "is empty"),
    "a head": (b"\0asm\x01\0\0\0", "exports no 'aegis_describe'"),
    "a component's head": (b"\0asm\x0d\0\x01\0", "it exports no 'describe'"),
    "another layer": (b"\0asm\x0d\0\x02\0", "it is no WebAssembly"),
    "garbage": (b"\0asm\x01\0\0\0" + bytes(range(64)), "it cannot be compiled"),
}
# Each as text, and what is said of it.
WORLDS = {
    "no exports": ("(module)", r"plain module and exports no 'memory'"),
    "no invoke": (
        speaking(b"{}").replace("aegis_invoke", "other"),
        r"exports no 'aegis_invoke': \(i32, i32, i32, i32\) -> i64",
    ),
    "a command of WASI": ('(module (func (export "_start")))', "exports no 'aegis_describe'"),
    "another describe": (
        speaking(b"{}")
        .replace('"aegis_describe") (result i64) (i64', '"aegis_describe") (result i32) (i32')
        .replace(str((1024 << 32) | 2), "2"),
        r"it exports 'aegis_describe' as \(\) -> i32; it is \(\) -> i64",
    ),
    "a function as memory": (
        speaking(b"{}").replace(
            '(memory (export "memory") 1)', '(memory 1)(func (export "memory"))'
        ),
        r"it exports 'memory' as \(\) -> \(\); it is memory",
    ),
    "AssemblyScript without the glue": (
        importing('(import "env" "abort" (func (param i32 i32 i32 i32)))'),
        "it imports 'env', which no host offers",
    ),
    "another WIT package": (
        importing('(import "acme:thing/host@0.1.0" "log" (func))'),
        "it imports 'acme:thing/host@0.1.0', which no host offers",
    ),
    "another interface": (
        importing('(import "aegis:component/files@0.1.0" "read" (func))'),
        "of aegis:component there are host, clock, random, keys, http",
    ),
    "another function": (
        importing(f'(import "{CLOCK}" "stop" (func))'),
        "it imports aegis:component/clock@0.1.0 'stop', which is not there",
    ),
    "another type": (
        importing(f'(import "{CLOCK}" "now" (func (result i32)))'),
        r"'now' as \(\) -> i32; it is \(\) -> i64",
    ),
    "a memory": (
        importing('(import "aegis:component/host@0.1.0" "log" (memory 1))').replace(
            '(memory (export "memory") 2)', '(export "memory" (memory 0))'
        ),
        "'log' as memory; it is",
    ),
    "no migrate": (
        module({**said(), "models": {"Order": {"fields": {}, "migrate": True}}}),
        "Order says that it migrates, and it exports no 'migrate'",
    ),
    "a newer minor": (
        importing('(import "aegis:component/clock@0.2.0" "now" (func (result i64)))'),
        "built for version 0.2.0 of the contract aegis:component, and this host speaks 0.1.0",
    ),
    "a newer patch": (
        importing('(import "aegis:component/clock@0.1.7" "now" (func (result i64)))'),
        "built for version 0.1.7",
    ),
    "a newer major": (
        importing('(import "aegis:component/clock@1.0.0" "now" (func (result i64)))'),
        "built for version 1.0.0",
    ),
    "no version": (
        importing('(import "aegis:component/clock" "now" (func (result i64)))'),
        "it imports 'aegis:component/clock', which no host offers",
    ),
    "a component without exports": (
        component(exports=False),
        "it exports no 'describe': its world",
    ),
    "a component with another describe": (
        component(describe="u32"),
        r"it exports 'describe' as \(\) -> u32; it is \(\) -> string",
    ),
    "a component of another world": (
        component('(import "acme:thing/host@0.1.0" (instance (export "f" (func))))'),
        "it imports 'acme:thing/host@0.1.0'",
    ),
    "a component for a newer contract": (
        component(
            '(import "aegis:component/clock@0.3.0" (instance (export "now" (func (result u64)))))'
        ),
        "built for version 0.3.0",
    ),
    "a component with another clock": (
        component(f'(import "{CLOCK}" (instance (export "now" (func (result string)))))'),
        r"'now' as \(\) -> string; it is \(\) -> u64",
    ),
    "a component that imports a function": (
        component('(import "log" (func))'),
        "it imports 'log', which no host offers",
    ),
}
DESCRIBES = {
    "not UTF-8": (speaking(b'{"name": "\xff"}'), "a text that is not UTF-8"),
    "no JSON": (speaking(b"shop 2.0.0"), "its describe.. gives no JSON"),
    "nothing": (speaking(b""), "its describe.. gives no JSON"),
    "half": (speaking(b'{"name": "shop", "versi'), "its describe.. gives no JSON"),
    "a list": (speaking(b"[1]"), "gives no description: Expected `object`"),
    "deep": (speaking(b'{"doc":' + b"[" * 9000), "its describe"),
    "no name": (speaking(b'{"version": "1.0.0"}'), "missing required field `name`"),
    "an unknown word": (
        speaking(json.dumps(said(modles={})).encode()),
        "unknown field `modles`",
    ),
    "no such version": (speaking(json.dumps(said("two")).encode()), "'two' is no version"),
    "no such name": (
        speaking(json.dumps(said(name="Shop of Ours")).encode()),
        "'Shop of Ours' is no name",
    ),
    "a name of the host": (speaking(json.dumps(said(name="flow")).encode()), "calls things 'flow'"),
    "a trap": (doing("unreachable"), r"its describe\(\) was stopped: it ended itself: .*in deep"),
    "a loop": (doing("(loop br 0) (i64.const 0)"), "computed for longer than 0.05 s, in deep"),
    "recursion": (doing("(call $deep)"), "its stack is exhausted"),
    "beyond its memory": (
        speaking(b"{}").replace(str((1024 << 32) | 2), str((1024 << 32) | 99999)),
        "outside of its memory",
    ),
    "a gigabyte": (
        speaking(b"{}").replace(str((1024 << 32) | 2), str((1024 << 32) | (1 << 30))),
        r"a text of 1073741824 bytes, and \d+ are allowed",
    ),
    "much memory at once": (
        speaking(b"{}").replace('"memory") 1', '"memory") 60000'),
        "memory",
    ),
    "a start that traps": (
        speaking(b"{}").replace("(data", "(func $start unreachable) (start $start) (data"),
        r"its describe\(\) was stopped: it ended itself",
    ),
    "a start that loops": (
        speaking(b"{}").replace("(data", "(func $start (loop br 0)) (start $start) (data"),
        "computed for longer than 0.05 s, in start",
    ),
}


@pytest.mark.parametrize("what", NOTHING)
async def test_what_is_no_webassembly_is_refused(host: Host, tmp_path: Path, what: str) -> None:
    content, words = NOTHING[what]
    await refused(host, tmp_path, content, words)


@pytest.mark.parametrize("what", WORLDS)
async def test_what_is_of_another_world_is_refused(host: Host, tmp_path: Path, what: str) -> None:
    wat, words = WORLDS[what]
    await refused(host, tmp_path, built(wat), words)


@pytest.mark.parametrize("what", DESCRIBES)
async def test_what_does_not_describe_itself_is_refused(
    host: Host, tmp_path: Path, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "DESCRIBING", loading.Limits(seconds=0.05, output=1 << 20))
    wat, words = DESCRIBES[what]
    await refused(host, tmp_path, built(wat), words)


async def refused(host: Host, folder: Path, content: bytes, words: str) -> None:
    """It is refused as a file alone, by a manifest, and sent: planned as well as deployed."""
    path = folder / "shop.wasm"
    path.write_bytes(content)
    described = folder / "described"
    described.mkdir()
    (described / "shop.wasm").write_bytes(content)
    (described / "aegis.toml").write_text(
        '[component]\nname = "shop"\nversion = "2.0.0"\nmodels = ["shop.wasm"]\n'
    )
    for address in (str(path), str(described)):
        for verb in (host.plan, host.deploy):
            with pytest.raises(ComponentError, match=words) as told:
                await verb(address)
            assert "shop" in str(told.value)


# --- what it may use, and what it says beside it --------------------------------------------------

USED = {
    "clock": importing(f'(import "{CLOCK}" "now" (func (result i64)))'),
    "random": importing('(import "aegis:component/random@0.1.0" "bytes" (func (param i32 i32)))'),
    "keys": importing(
        '(import "aegis:component/keys@0.1.0" "get" (func (param i32 i32) (result i64)))'
    ),
    "wasi": importing(
        '(import "wasi_snapshot_preview1" "random_get" (func (param i32 i32) (result i32)))'
    ),
    "http=https://api.example.org": module(
        said(http=["https://api.example.org"]),
        imports='(import "aegis:component/http@0.1.0" "fetch" (func (param i32 i32) (result i64)))',
    ),
}


@pytest.mark.parametrize("what", USED)
async def test_what_is_not_granted_is_refused_with_how_to_grant_it(
    host: Host, tmp_path: Path, what: str
) -> None:
    path = tmp_path / "shop.wasm"
    path.write_bytes(built(USED[what]))
    plan = await host.plan(str(path))
    (problem,) = plan.problems
    assert f"host.{what}" in problem
    assert f'host.grant("shop", "host.{what}")' in problem
    with pytest.raises(ComponentError) as refusal:
        await host.deploy(str(path))
    assert refusal.value.problems == (problem,)


async def test_what_is_granted_is_not_refused(tmp_path: Path, sources: Anywhere) -> None:
    path = tmp_path / "shop.wasm"
    async with memory_host(sources=sources) as host:
        for what, wat in USED.items():
            path.write_bytes(built(wat))
            assert (await host.deploy(str(path), grants=[f"host.{what}"])).version == "2.0.0"


@pytest.mark.parametrize(
    ("name", "version", "table"),
    [("shop", "2.0.0", ("shop", "2.0.1")), ("shop", "2.0.0", ("store", "2.0.0"))],
)
async def test_another_name_or_version_than_the_manifest_says_is_refused(
    host: Host, tmp_path: Path, name: str, version: str, table: tuple[str, str]
) -> None:
    (tmp_path / "shop.wasm").write_bytes(built(module(said(version, name=name))))
    (tmp_path / "aegis.toml").write_text(
        f'[component]\nname = "{table[0]}"\nversion = "{table[1]}"\nmodels = ["shop.wasm"]\n'
    )
    words = f"it describes itself as {name} {version}, and was taken for {' '.join(table)}"
    for verb in (host.plan, host.deploy):
        with pytest.raises(ComponentError, match=words):
            await verb(str(tmp_path))


async def test_what_is_larger_than_any_component_is_refused(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "MOST", 1 << 20)
    await refused(host, tmp_path, built(module(said())) + bytes(1 << 20), "larger than 1 MiB")
    (tmp_path / "huge.wasm").touch()
    with (tmp_path / "huge.wasm").open("r+b") as file:
        file.truncate(65 << 20)
    with pytest.raises(AegisError, match=r"huge.wasm is larger than 64 MiB"):
        await host.plan(str(tmp_path / "huge.wasm"))


# --- half a file ----------------------------------------------------------------------------------


def is_one_of_names(rest: bytes) -> bool:
    """Whether bytes are one custom section, which no code needs."""
    size = shift = 0
    for n, byte in enumerate(rest[1:], 2):
        size |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return rest[0] == 0 and size == len(rest) - n
    return False


@pytest.mark.parametrize("kind", ["module", "component"])
async def test_a_file_that_is_cut_anywhere_is_refused(
    host: Host, tmp_path: Path, kind: str
) -> None:
    wat = module(said(), {"Order.finish": "{}"}) if kind == "module" else component()
    whole, loader, sound = built(wat), PolyglotLoader(), []
    assert whole.startswith(MODULE if kind == "module" else COMPONENT)
    for at in range(1, len(whole) + 1):
        try:
            loader.unload(loader.load(Source.of("shop", "2.0.0", "", binary=whole[:at])))
        except ComponentError:
            continue
        sound.append(whole[at:])
    assert sound.pop() == b""
    assert [is_one_of_names(rest) for rest in sound] == [True]
    for at in range(1, len(whole), 50):
        (tmp_path / "shop.wasm").write_bytes(whole[:at])
        with pytest.raises(ComponentError):
            await host.plan(str(tmp_path / "shop.wasm"))

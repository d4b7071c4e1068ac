"""What is loaded is a component, or refused as one: whatever its bytes and its description are.

`AEGIS_FUZZ` says for how many seconds bytes are tried: 8 here, two minutes in `make soak`.
"""

import base64
import contextlib
import gc
import json
import os
import random
import sys
import time
from typing import Any

import pytest
import wasmtime
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aegis.adapters.components.wasm import loader as loading
from aegis.adapters.components.wasm.loader import WasmLoader
from aegis.adapters.components.wasm.machine import Limits, Machine
from aegis.adapters.components.wasm.native import imports_kept
from aegis.core.component import Source
from aegis.core.errors import ComponentError, GuestError
from tests.wasm.hostile import wat
from tests.wasm.modules import CALLS, ECHO, component, module

SECONDS = float(os.environ.get("AEGIS_FUZZ", "8"))
EXAMPLES = int(os.environ.get("AEGIS_EXAMPLES", "1")) * 150
SAID: dict[str, Any] = {
    "name": "thing",
    "version": "1.0.0",
    "limits": {"seconds": 0.02},
    "protocols": {"Names": {"name": {"takes": {"id": {"type": "string"}}, "gives": {}}}},
    "adapters": {"Book": {"does": ["Names"], "config": {"url": {"type": "string"}}}},
    "listeners": {"heard": {"on": ["thing.made"]}},
    "models": {
        "Thing": {
            "endpoint": "things",
            "fields": {
                "text": {"type": "string", "default": "", "maxLength": 10},
                "count": {"type": ["integer", "null"], "minimum": 0},
                "kind": {"enum": ["A", "B"], "default": "A"},
                "other": {"type": ["string", "null"], "format": "uuid", "default": None},
            },
            "relations": {"others": {"to": "Thing", "by": "other", "many": True}},
            "ports": {"echo": {"consumes": ["thing.created"], "undo": {}, "retries": 1}},
            "commands": {"say": {"arguments": {"text": {"type": "string"}}}},
        }
    },
}


def seeds() -> list[bytes]:
    more = {"calls": list(CALLS), "bodies": {"echo": ECHO, "say": "(loop br 0) (i64.const 0)"}}
    texts = [module(SAID, **more), component(SAID, **more), wat("module"), wat("component")]
    return [bytes(wasmtime.wat2wasm(text)) for text in texts]


SEEDS = seeds()


@pytest.fixture
def loader(monkeypatch: pytest.MonkeyPatch) -> WasmLoader:
    monkeypatch.setattr(loading, "DESCRIBING", Limits(seconds=0.02))
    return WasmLoader(Machine())


def tried(loader: WasmLoader, binary: bytes) -> bool:
    """Whether it was a component. It is called, then, and unloaded."""
    source = Source.of("thing", "1.0.0", "", origin="test", binary=binary)
    try:
        revision = loader.load(source)
    except ComponentError as error:
        if len(str(error)) > 100_000:
            raise
        return False
    guest: Any = revision.guest
    for name, text in (("echo", "x"), ("Thing.echo", "{}"), ("loops", "")):
        with contextlib.suppress(GuestError):
            guest.call_now("invoke", name, text)
    loader.unload(revision)
    return True


def changed(dice: random.Random, binary: bytes) -> bytes:
    """The same, with something wrong in it."""
    data = bytearray(binary)
    for _ in range(dice.choice([1, 1, 1, 2, 3, 8])):
        at = dice.randrange(len(data)) if data else 0
        match dice.randrange(8):
            case 0 | 1:
                data[at : at + 1] = bytes([data[at] ^ (1 << dice.randrange(8))]) if data else b""
            case 2:
                data[at : at + 1] = bytes([dice.choice([0, 1, 0x7F, 0x80, 0xFF, 0x40, 0x0B])])
            case 3:
                del data[at:]
            case 4:
                del data[at : at + dice.randrange(1, 64)]
            case 5:
                other = dice.choice(SEEDS)
                begin = dice.randrange(len(other))
                data[at:at] = other[begin : begin + dice.randrange(1, 200)]
            case 6:
                data[at : at + 4] = dice.randbytes(dice.randrange(1, 9))
            case _:
                length = dice.randrange(1, 64)
                data[at : at + length] = data[at : at + length] * dice.choice([2, 3, 100])
    return bytes(data)


def test_bytes_of_any_kind_are_a_component_or_refused(loader: WasmLoader) -> None:
    for seed in SEEDS[:2]:
        assert tried(loader, seed)
    gc.collect()
    before = imports_kept(), len(sys.modules)
    dice = random.Random(time.time_ns() if SECONDS > 30 else 7)
    end = time.monotonic() + SECONDS
    count = good = 0
    while time.monotonic() < end:
        binary = changed(dice, dice.choice(SEEDS))
        try:
            good += tried(loader, binary)
        except BaseException:
            print(base64.b64encode(binary).decode())
            raise
        count += 1
    print(f"{count} were tried, {good} were components")
    assert 0 < good < count
    gc.collect()
    assert imports_kept() <= before[0]
    assert len(sys.modules) <= before[1] + 5


WORDS = st.sampled_from(
    [
        "Thing",
        "text",
        "count",
        "echo",
        "name",
        "id",
        "Names",
        "others",
        "string",
        "integer",
        "uuid",
        "object",
        "array",
        "A",
        "thing.made",
        "thing.*",
        "1.0.0",
        "*",
        "__init__",
        "self",
        "é",
        "class",
        "\x00",
        "migrate",
        "revision",
    ]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WORDS | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            WORDS
            | st.sampled_from(
                [
                    "type",
                    "format",
                    "enum",
                    "default",
                    "items",
                    "properties",
                    "minimum",
                    "maxLength",
                    "pattern",
                    "required",
                    "private",
                    "unique",
                    "multipleOf",
                    "fields",
                    "ports",
                    "when",
                    "uses",
                    "limits",
                    "emits",
                    "config",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@st.composite
def descriptions(draw: st.DrawFn) -> Any:
    """A description with parts that were taken out, put elsewhere or made up."""
    said = json.loads(json.dumps(SAID))
    for _ in range(draw(st.integers(1, 4))):
        place, key = said, None
        for _ in range(draw(st.integers(1, 6))):
            inner = place if key is None else place[key]
            if not isinstance(inner, dict | list) or not inner:
                break
            place = inner
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            key = draw(st.sampled_from(keys))
        if key is None:
            continue
        if draw(st.booleans()):
            place[key] = draw(VALUES)
        elif isinstance(place, dict):
            value = place.pop(key)
            if draw(st.booleans()):
                place[draw(WORDS)] = value
    return said


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(said=descriptions() | VALUES)
def test_descriptions_of_any_kind_are_taken_or_refused(loader: WasmLoader, said: Any) -> None:
    try:
        text = module(said, bodies={"echo": ECHO})
    except (ValueError, UnicodeEncodeError):
        return
    tried(loader, bytes(wasmtime.wat2wasm(text)))


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"name":' * 20_000,
        '{"name":"thing","version":"1.0.0","models":' + '{"A":{"fields":' * 5000,
        '{"name":"thing","version":"1.0.0","models":{"Thing":{"fields":{"x":'
        + '{"type":"array","items":' * 3000
        + '{"type":"string"}'
        + "}" * 3000
        + "}}}}",
        '{"name":"thing","version":"1.0.0","models":{'
        + ",".join(f'"M{n}":{{"fields":{{}}}}' for n in range(5000))
        + "}}",
        '{"name":"thing","version":"1.0.0","models":{"Thing":{"fields":{'
        + ",".join(f'"f{n}":{{"type":"string"}}' for n in range(6000))
        + "}}}}",
        '{"name":"' + "a" * 200_000 + '","version":"1.0.0"}',
        '{"name":"thing","version":"1.0.0","models":{"' + "M" * 200_000 + '":{"fields":{}}}}',
    ],
    ids=["deep", "deeper", "models", "schemas", "many", "wide", "name", "model"],
)
def test_a_description_without_end_is_refused(loader: WasmLoader, text: str) -> None:
    data = "".join(f"\\{byte:02x}" for byte in text.encode())
    length = len(text.encode())
    pages = (1024 + length) // 65536 + 2
    begun = (1024 << 32) | length
    plain = f"""(module (memory (export "memory") {pages})
      (func (export "aegis_alloc") (param i32) (result i32) (i32.const 8))
      (func (export "aegis_describe") (result i64) (i64.const {begun}))
      (func (export "aegis_invoke") (param i32 i32 i32 i32) (result i64) (i64.const 0))
      (data (i32.const 1024) "{data}"))"""
    assert not tried(loader, bytes(wasmtime.wat2wasm(plain)))


PLAIN = """(memory (export "memory") 1)
  (func (export "aegis_alloc") (param i32) (result i32) (i32.const 8))
  (func (export "aegis_describe") (result i64) (i64.const 0))
  (func (export "aegis_invoke") (param i32 i32 i32 i32) (result i64) (i64.const 0))"""


@pytest.mark.parametrize(
    "text",
    [
        '(func (export "x") (param v128))',
        '(global (export "g") v128 (v128.const i64x2 0 0))',
        '(table (export "t") 1 externref)',
        '(func (export "x") (param exnref))',
        '(func (export "x") (param anyref))',
        '(tag (export "t") (param i32))',
        '(type $t (func)) (func (export "x") (param (ref $t)))',
        '(type $a (array (mut i64))) (func (export "x") (drop (array.new $a (i64.const 0) (i32.const 9))))',
    ],
)
def test_types_that_are_not_of_the_contract_do_not_end_the_process(
    loader: WasmLoader, text: str
) -> None:
    assert not tried(loader, bytes(wasmtime.wat2wasm(f"(module {PLAIN} {text})")))


@pytest.mark.parametrize("kind", ["v128", "i64 f32 f64 externref funcref v128"])
def test_what_is_imported_by_other_types_is_refused_by_them(loader: WasmLoader, kind: str) -> None:
    imported = f'(import "aegis:component/host@0.1.0" "call" (func (param {kind})))'
    source = Source.of(
        "thing",
        "1.0.0",
        "",
        origin="test",
        binary=bytes(wasmtime.wat2wasm(f"(module {imported} {PLAIN})")),
    )
    with pytest.raises(ComponentError, match=f"as .{kind.replace(' ', ', ')}. -> "):
        loader.load(source)

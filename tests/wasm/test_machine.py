"""What was compiled is kept on disk, and nothing but that is ever taken for it."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest
import wasmtime

from aegis.adapters.components.wasm import compiling
from aegis.adapters.components.wasm import machine as machinery
from aegis.adapters.components.wasm.machine import SMALL, Machine


def built(number: int) -> bytes:
    wat = f'(module (func (export "f") (result i32) (i32.const {number})))'
    return bytes(wasmtime.wat2wasm(wat))


ONE, TWO = built(1), built(2)


def answer(folder: Path | None, binary: bytes) -> int:
    """What the code of a machine that has just begun gives."""
    machine = Machine(folder)
    compiled = machine.compiled(binary)
    assert isinstance(compiled, wasmtime.Module)
    store = wasmtime.Store(machine.engine())
    store.set_epoch_deadline(1 << 40)
    found = wasmtime.Instance(store, compiled, []).exports(store)["f"]
    assert isinstance(found, wasmtime.Func)
    number = found(store)
    assert isinstance(number, int)
    return number


def only(folder: Path) -> Path:
    (path,) = folder.iterdir()
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the code of module ONE is kept."""
    assert answer(tmp_path / "kept", ONE) == 1
    return tmp_path / "kept"


def test_the_folder_and_its_files_are_for_nobody_else(folder: Path) -> None:
    assert folder.stat().st_mode & 0o777 == 0o700
    assert only(folder).stat().st_mode & 0o777 == 0o600


def test_what_is_kept_is_taken_and_not_compiled_again(folder: Path) -> None:
    before = only(folder).stat().st_ino
    assert answer(folder, ONE) == 1
    assert only(folder).stat().st_ino == before


def test_a_file_with_any_bit_flipped_is_compiled_anew(folder: Path) -> None:
    path = only(folder)
    whole = path.read_bytes()
    for at in {*range(64), *range(64, len(whole), len(whole) // 40)}:
        path.write_bytes(whole[:at] + bytes([whole[at] ^ (1 << at % 8)]) + whole[at + 1 :])
        assert answer(folder, ONE) == 1
        assert path.read_bytes() == whole


@pytest.mark.parametrize("content", [b"", b"short", bytes(4096)])
def test_a_file_that_is_none_is_compiled_anew(folder: Path, content: bytes) -> None:
    path = only(folder)
    whole = path.read_bytes()
    path.write_bytes(content)
    assert answer(folder, ONE) == 1
    assert path.read_bytes() == whole


def test_the_sound_code_of_another_module_is_not_taken(folder: Path, tmp_path: Path) -> None:
    assert answer(tmp_path / "other", TWO) == 2
    shutil.copyfile(only(tmp_path / "other"), only(folder))
    assert answer(folder, ONE) == 1


def test_a_folder_that_others_can_write_to_is_not_used(folder: Path) -> None:
    path = only(folder)
    path.write_bytes(b"mark")
    folder.chmod(0o770)
    assert answer(folder, ONE) == 1
    assert path.read_bytes() == b"mark"


def test_without_a_place_on_disk_it_is_compiled_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    assert answer(tmp_path / "file" / "kept", ONE) == 1
    assert answer(None, ONE) == 1


def test_what_was_not_used_for_longest_goes_first(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = only(folder)
    os.utime(first, (1, 1))
    assert answer(folder, TWO) == 2
    (second,) = set(folder.iterdir()) - {first}
    os.utime(second, (2, 2))
    assert answer(folder, ONE) == 1  # and it is the newest again
    monkeypatch.setattr(machinery, "ON_DISK", int(2.5 * first.stat().st_size))
    assert answer(folder, built(3)) == 3
    assert first.exists()
    assert not second.exists()


def costly(loops: int) -> bytes:
    """A small module that takes its compiler long: each loop has to look at very many variables."""
    locals_ = " ".join(["i32"] * 45_000)
    body = "(loop (br_if 0 (local.get 0)))" * loops
    return bytes(wasmtime.wat2wasm(f"(module (func (param i32) (local {locals_}) {body}))"))


def test_what_takes_too_long_or_too_much_to_compile_is_stopped(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    text = Path(compiling.__file__).read_text()
    for name, value, said in (("SECONDS", 1, "more than 1 s"), ("MEMORY", 64 << 20, "64 MiB")):
        hasty = tmp_path / f"{name}.py"
        hasty.write_text(re.sub(rf"^{name} = .*$", f"{name} = {value}", text, flags=re.MULTILINE))
        monkeypatch.setattr(compiling, "__file__", str(hasty))
        monkeypatch.setattr(compiling, name, value)
        with pytest.raises(wasmtime.WasmtimeError, match=said):
            Machine().compiled(costly(4000))


def test_a_large_module_is_compiled_in_a_process_and_its_mistakes_are_told(tmp_path: Path) -> None:
    some = "".join(f'(func (export "f{n}") (result i32) (i32.const {n}))' for n in range(2000))
    binary = bytes(wasmtime.wat2wasm(f"(module {some})"))
    assert len(binary) > SMALL
    machine = Machine(tmp_path / "code")
    for fuel in (False, True):
        assert isinstance(machine.compiled(binary, fuel=fuel), wasmtime.Module)
    compiled = machine.compiled(binary)
    assert isinstance(compiled, wasmtime.Module)
    store = wasmtime.Store(machine.engine())
    store.set_epoch_deadline(1 << 40)
    found = wasmtime.Instance(store, compiled, []).exports(store)["f1999"]
    assert isinstance(found, wasmtime.Func)
    assert found(store) == 1999
    assert len(list((tmp_path / "code").iterdir())) == 2
    with pytest.raises(wasmtime.WasmtimeError, match="unexpected end"):
        machine.compiled(binary[:-100])

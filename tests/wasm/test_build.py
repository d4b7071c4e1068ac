"""The program that builds the samples: it builds once, says what is missing, and loses nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.wasm.samples import BUILDER, FOLDER


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The samples with nothing built, to be changed."""
    away = shutil.ignore_patterns("built", "node_modules", "__pycache__")
    return shutil.copytree(FOLDER, tmp_path / "wasm", ignore=away)


def build(folder: Path, *names: str, **environment: str) -> tuple[int, str, str]:
    """Exit code and what it printed, as from a shell."""
    caches = {"ZIG_GLOBAL_CACHE_DIR": str(BUILDER.BUILT / ".zig")}
    done = subprocess.run(
        [sys.executable, str(folder / "build.py"), *names],
        env={**os.environ, **caches, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def test_what_has_not_changed_is_not_built_again(folder: Path) -> None:
    made = folder / "built/c/tariff.wasm"
    assert build(folder, "c/tariff", "wat/labels")[0] == 0
    first = made.stat()
    assert build(folder, "c/tariff")[0] == 0
    assert made.stat().st_mtime_ns == first.st_mtime_ns
    # Whatever it is made of: a header counts too, and so does what was built.
    header = folder / "c/aegis.h"
    header.write_text(f"{header.read_text()}\n/* Nothing more. */\n")
    for _ in range(2):
        assert build(folder, "c/tariff")[0] == 0
        assert made.stat().st_mtime_ns > first.st_mtime_ns
        first = made.stat()
        made.write_bytes(b"cut short")


def test_a_mistake_is_told_as_the_compiler_tells_it_and_what_was_built_stays(folder: Path) -> None:
    assert build(folder, "c/tariff")[0] == 0
    before = (folder / "built/c/tariff.wasm").read_bytes()
    source = folder / "c/tariff.c"
    source.write_text(source.read_text().replace("int grams,", "imt grams,"))
    code, _, said = build(folder, "c/tariff")
    assert code == 1
    assert "tariff.c:18:5: error: use of undeclared identifier 'imt'" in said
    assert (folder / "built/c/tariff.wasm").read_bytes() == before
    assert sorted(path.name for path in (folder / "built/c").iterdir()) == [
        *("tariff.inputs", "tariff.lock", "tariff.wasm"),
    ]


def test_what_is_missing_or_too_old_is_named_with_what_brings_it(folder: Path) -> None:
    program = folder / "build.py"
    text = program.read_text()
    program.write_text(text.replace('find_spec("go")', 'find_spec("no_such_thing")'))
    empty = folder / "empty"
    empty.mkdir()
    code, _, said = build(folder, "go/shipping", PATH=str(empty))
    assert code == 1
    assert "go/shipping: go is missing" in said
    assert "pip install 'aegis-kernel[wasm]'" in said
    program.write_text(text.replace('"0.14"', '"99.0"'))
    code, _, said = build(folder, "c/tariff")
    assert code == 1
    assert "is too old: 99.0 at least" in said


def test_a_sample_that_is_not_there_is_refused_with_those_that_are(folder: Path) -> None:
    code, _, said = build(folder, "rust/tariff", "wat/labels")
    assert code == 1
    assert "there is no sample 'rust/tariff': go/hello, javascript/hello" in said
    assert (folder / "built/wat/labels.wasm").exists()

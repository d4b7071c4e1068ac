"""Compiles a module in a process of its own: `python -P compiling.py module|component FUEL`.

A small module can be made to take minutes and gigabytes to compile, and no thread that does it can
be stopped; a process can. It knows nothing of the package, so that it begins at once.
"""

from __future__ import annotations

import os
import resource
import sys

import wasmtime
from wasmtime.component import Component

STACK = 512 * 1024  # bytes of a guest's stack
SECONDS = 60  # of computing, which others do not shorten
PATIENCE = 900  # seconds after which it hangs
MEMORY = 2 << 30  # bytes of that


def config_of(*, fuel: bool) -> wasmtime.Config:
    """What guests may use of WebAssembly, for the engine that compiles and the one that runs."""
    config = wasmtime.Config()
    config.epoch_interruption = True
    config.consume_fuel = fuel
    config.max_wasm_stack = STACK
    # Threads of a guest could outlive its call, and share what the limits count.
    config.wasm_threads = False
    config.shared_memory = False
    # What a collector allocates (exceptions, too), the limits of a store do not count.
    config.wasm_gc = False
    config.wasm_exceptions = False
    config.wasm_function_references = False
    config.wasm_memory64 = False
    return config


def main() -> None:
    """Read the module from standard input; write 1 and its code, or 0 and what is wrong."""
    kind = Component if sys.argv[1] == "component" else wasmtime.Module
    os.nice(5)  # others are served meanwhile
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 1))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    engine = wasmtime.Engine(config_of(fuel=sys.argv[2] == "1"))
    try:
        said = b"\1" + kind(engine, sys.stdin.buffer.read()).serialize()
    except wasmtime.WasmtimeError as error:
        said = b"\0" + str(error).encode()
    sys.stdout.buffer.write(said)


if __name__ == "__main__":
    main()

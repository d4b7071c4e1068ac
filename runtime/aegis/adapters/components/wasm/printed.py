"""What a guest prints by way of WASI: the last of it, for the log and for an error."""

from __future__ import annotations

import threading

import wasmtime

KEPT = 16 << 10  # bytes of what is printed by one call; of more the last ones
SHOWN = 300  # characters of it in an error


class Printed:
    """What one instance prints on stdout and stderr, until it is taken."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # wasmtime writes on a thread of its own
        self._tail = bytearray()

    def config(self) -> wasmtime.WasiConfig:
        """WASI with nothing in it: no files, no environment, no arguments, no network."""
        config = wasmtime.WasiConfig()
        config.stdout_custom = self._write
        config.stderr_custom = self._write
        return config

    def _write(self, data: bytes) -> None:
        with self._lock:
            self._tail += data[-KEPT:]
            del self._tail[:-KEPT]

    def take(self) -> str:
        """What was printed since it was taken last; what is no UTF-8 of it is replaced."""
        with self._lock:
            if not self._tail:
                return ""
            text = self._tail.decode(errors="replace")
            self._tail.clear()
        return text


def cause(printed: str) -> str:
    """Of what a stopped guest has printed what says why, as one line: its panic, or the last line.

    Rust says what the matter is in the line after.
    """
    lines = [line.strip() for line in printed.splitlines() if line.strip()]
    if not lines:
        return ""
    n = next((n for n, line in enumerate(lines) if "panic" in line), len(lines) - 1)
    said = " ".join(lines[n : n + 2]) if lines[n].endswith(":") else lines[n]
    return said if len(said) <= SHOWN else f"{said[: SHOWN - 1]}\u2026"

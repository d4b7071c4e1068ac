"""Loads each component by the loader of its kind: Python's, or that of WebAssembly."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from aegis.adapters.components.python import PythonLoader
from aegis.core.allowance import Allowance
from aegis.core.component import Revision, Source
from aegis.core.description import Description
from aegis.protocols import Loader

if TYPE_CHECKING:
    from aegis.adapters.components.wasm.loader import WasmLoader


class PolyglotLoader(Loader):
    """Loads both. `folder` keeps what was compiled, `most` is what a guest gets.

    What WebAssembly needs is imported when the first such component comes.
    """

    def __init__(
        self,
        python: PythonLoader | None = None,
        *,
        folder: Path | None = None,
        most: Allowance | None = None,
    ) -> None:
        self._python = python or PythonLoader()
        self._folder = folder
        self._most = most or Allowance()
        self._wasm: WasmLoader | None = None

    def load(self, source: Source) -> Revision:
        """The surveyed component. Raises ComponentError."""
        return self.wasm.load(source) if source.is_wasm else self._python.load(source)

    def assemble(self, text: str, name: str, version: str = "") -> bytes:
        """See protocols.Loader."""
        return self.wasm.assemble(text, name, version)

    def describe(self, binary: bytes, name: str) -> Description:
        """See protocols.Loader."""
        said, _, _ = self.wasm.describe(Source.of(name, "", "", binary=binary))
        return said

    def unload(self, revision: Revision) -> None:
        """Forget everything of `revision` that the process keeps."""
        (self.wasm if revision.source.is_wasm else self._python).unload(revision)

    @property
    def wasm(self) -> WasmLoader:
        """The loader of WebAssembly."""
        if self._wasm is None:
            from aegis.adapters.components.wasm.loader import WasmLoader
            from aegis.adapters.components.wasm.machine import Limits, machine_of

            most = Limits(**msgspec.structs.asdict(self._most))
            self._wasm = WasmLoader(machine_of(self._folder), most)
        return self._wasm

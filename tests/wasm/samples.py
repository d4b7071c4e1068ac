"""The samples of notebooks/wasm, built from source, and the Python ones beside them."""

from __future__ import annotations

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from aegis.adapters.components.polyglot import PolyglotLoader
from aegis.core.component import Source

FOLDER = Path(__file__).parents[2] / "notebooks" / "wasm"


def _builder() -> Any:
    """The program that builds them, as a module."""
    name = "notebooks_wasm_build"
    spec = spec_from_file_location(name, FOLDER / "build.py")
    assert spec is not None
    assert spec.loader is not None
    sys.modules[name] = module_from_spec(spec)
    spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


BUILDER = _builder()


def built(name: str, version: str = "1.0.0") -> Source:
    """A sample as a source: `javascript/shipping`; of Python its text."""
    component = name.partition("/")[2]
    if name.startswith("python/"):
        return Source.of(component, version, (FOLDER / f"{name}.py").read_text(), origin=name)
    return Source.of(component, version, "", origin=name, binary=BUILDER.build(name).read_bytes())


def loader() -> PolyglotLoader:
    """One that keeps what it compiled beside what was built, for other tests and the next time."""
    return PolyglotLoader(folder=BUILDER.BUILT / ".compiled")

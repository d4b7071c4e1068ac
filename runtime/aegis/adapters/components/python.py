"""Loads components from Python text: a fresh module for every revision, and what it marks."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Mapping, Sequence
from types import CodeType
from typing import Any

from aegis.adapters.components.fuse import Endless, bounded
from aegis.adapters.components.imports import Modules
from aegis.adapters.components.libraries import FOLDER, Shelf
from aegis.adapters.components.reaching import unseen
from aegis.adapters.components.survey import Survey, module_name
from aegis.core.component import (
    MODULES,
    Revision,
    Source,
)
from aegis.core.errors import AegisError, ComponentError, closest
from aegis.core.event import NAME as EVENT_NAME

# Seconds that importing a component may take.
PATIENCE = 30.0


class PythonLoader:
    """Runs a component's text in a module of its own, under a name that no other revision has.

    `shelf` has the wheels of libraries, `patience` is how long an import may take (seconds).
    """

    def __init__(self, shelf: Shelf | None = None, *, patience: float = PATIENCE) -> None:
        self._shelf = shelf
        self._patience = patience

    def load(self, source: Source) -> Revision:
        """The revision of `source`. Raises ComponentError with the file and the line at fault."""
        unique = module_name(source)
        modules = Modules(source, unique, self._shelf)
        try:
            return bounded(lambda: self._load(source, modules), self._patience)
        except BaseException as error:  # `sys.exit()` in a component must not end the host
            modules.forget()
            if isinstance(error, ComponentError):
                raise
            raise _refusal(source, error, modules) from error

    def _load(self, source: Source, modules: Modules) -> Revision:
        code = modules.compile()
        modules.provide()
        module = modules.own()
        exec(code, module.__dict__)  # noqa: S102 -- loading code is this class's whole purpose
        emits = frozenset().union(*map(_spelled_events, (code, *modules.codes())))
        return Survey(source, module).revision(emits)

    def unload(self, revision: Revision) -> None:
        """Take the revision's modules and source lines out of the process."""
        module = revision.module
        if module is not None:
            Modules(revision.source, module.__name__).forget()
            # typing keeps every generic alias it ever made, and with it the classes it names.
            for clean in getattr(typing, "_cleanups", ()):
                clean()


def _refusal(source: Source, error: BaseException, modules: Modules) -> ComponentError:
    """What `error` came to, with where in the component's files it was raised, the innermost."""
    files = modules.files()
    detail = error.detail if isinstance(error, AegisError) else str(error)
    said = f"{type(error).__name__}: {detail}"
    places: list[tuple[str, int | None]] = []
    if isinstance(error, Endless):
        places = [place for place in reversed(error.stack) if place[0] in files]
        said = f"its import did not end within {error.seconds:g} s"
        if error.goes_on:
            said += ", and cannot be interrupted: it goes on until the host ends"
    elif isinstance(error, SyntaxError) and error.filename is not None and error.filename in files:
        places = [(error.filename, error.lineno)]
        said = f"{error.msg}: {(error.text or '').strip()}"
    elif error.__traceback__ is not None:
        frames = inspect.getinnerframes(error.__traceback__)
        places = [(f.filename, f.lineno) for f in reversed(frames) if f.filename in files]
    more: dict[str, Any] = {"line": None}
    if places:
        filename, more["line"] = places[0]
        file = files[filename]
        said = f"line {more['line']}: {said}"
        if file is not None:
            more["file"] = file
            said = f"{file}, {said}"
    # What is private is told by the names that its author knows.
    said = said.replace(f"{modules.root}.{FOLDER}.", "").replace(f"{modules.root}.", "")
    hint = unseen(source.name, error) or _hint(source, error, places, files)
    refusal = ComponentError(source.name, [said], hint=hint, **more)
    refusal.texts = modules.texts()
    return refusal


def _hint(
    source: Source,
    error: BaseException,
    places: Sequence[tuple[str, int | None]],
    files: Mapping[str, str | None],
) -> str | None:
    """The likely fix of what went wrong while a component was imported."""
    if isinstance(error, Endless):
        return "a file only defines things: begin what goes on in an adapter's open()"
    if isinstance(error, ModuleNotFoundError) and error.name and not error.name.startswith(MODULES):
        top = error.name.partition(".")[0]
        meant = closest(
            top, [name.partition("/")[0].removesuffix(".py") for name in source.imports]
        )
        return meant or f"name it in [component.dependencies], or install {top!r} for the host"
    around = _around(error, [files[name] or source.name for name, _ in reversed(places)], files)
    if len(around) > 1:
        return (
            f"{' and '.join(around)} import each other: import the module and not names of it, or "
            "do so in the function that needs it"
        )
    return getattr(error, "hint", None)


def _around(
    error: BaseException, path: Sequence[str], files: Mapping[str, str | None]
) -> Sequence[str]:
    """The files that import each other where a name was missed of one that is being imported.

    `path` are the files whose code was running, the outermost first.
    """
    missed = error.path if isinstance(error, ImportError) else None
    if isinstance(error, AttributeError):
        missed = getattr(error.obj, "__file__", None)
    if missed is None or missed not in files:
        return ()
    name = files[missed] or path[0]
    return list(dict.fromkeys(path[path.index(name) :])) if name in path else ()


def _spelled_events(code: CodeType) -> frozenset[str]:
    """The event names spelled in code that mentions `emit` or `event`: what it may produce."""
    names: set[str] = set()
    if {"emit", "event"} & set(code.co_names):
        names |= {c for c in code.co_consts if isinstance(c, str) and EVENT_NAME.match(c)}
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            names |= _spelled_events(constant)
    return frozenset(names)

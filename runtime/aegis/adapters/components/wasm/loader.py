"""Loads components from WebAssembly: compiled, described in a sandbox, and surveyed like others."""

from __future__ import annotations

import re
import sys
import typing
from dataclasses import replace
from typing import Any

import wasmtime

from aegis.adapters.components.survey import Survey, module_name
from aegis.adapters.components.wasm.classes import Classes
from aegis.adapters.components.wasm.guest import WasmGuest
from aegis.adapters.components.wasm.instance import World, world_of
from aegis.adapters.components.wasm.machine import (
    COMPONENT,
    MODULE,
    MOST,
    Compiled,
    Limits,
    Machine,
)
from aegis.adapters.components.wasm.outbound import Outbound
from aegis.core.component import Revision, Source
from aegis.core.description import Description, needs_of, read_description
from aegis.core.errors import ComponentError, GuestError, InvalidError
from aegis.core.wat import functions, whole

# What a guest may use while it describes itself.
DESCRIBING = Limits(seconds=1.0, output=1 << 18)
# Seconds of one that runs on the host's own thread, unless it asks for more, and at most then.
INLINE, INLINE_MOST = 0.01, 0.05

# Where in a text wasmtime says that a mistake is: line and column.
_PLACE = re.compile(r"(?:-->.*?|at <anon>):(\d+):(\d+)$", re.MULTILINE)
# How it names a function that is not sound, and what it says of it.
_UNSOUND = re.compile(r"function\[\d+\](?:::(\S+))?.*at offset \d+: (.*)", re.DOTALL)


class WasmLoader:
    """Makes revisions of modules, on one machine. `most` is what any guest may use."""

    def __init__(self, machine: Machine, most: Limits | None = None) -> None:
        self._machine = machine
        self._most = most or Limits()

    def load(self, source: Source) -> Revision:
        """The revision of `source`. Raises ComponentError with what is wrong with it."""
        unique = module_name(source)
        said, compiled, world = self.describe(source)
        if (said.name, said.version) != (source.name, source.version):
            taken = f"{source.name} {source.version}"
            raise ComponentError(
                source.name,
                [f"it describes itself as {said.name} {said.version}, and was taken for {taken}"],
                hint="what is said beside it has to be what its describe() says",
            )
        moving = [name for name, model in said.models.items() if model.migrate]
        if moving and "migrate" not in world.exports:
            raise ComponentError(
                source.name, [f"{moving[0]} says that it migrates, and it exports no 'migrate'"]
            )
        limits = self._limits(said)
        if limits.fuel is not None:
            compiled = self._machine.compiled(source.binary, fuel=True)
        is_inline = self._inline(said, source, world, limits)
        if is_inline and said.limits.seconds is None:
            limits = replace(limits, seconds=min(limits.seconds, INLINE))
        guest = WasmGuest(
            self._machine,
            compiled,
            world,
            limits,
            source,
            inline=is_inline,
            fresh=said.fresh,
            outbound=self._outbound(said, world),
        )
        classes = Classes(said, guest, unique)
        try:
            module = classes.make()
            if classes.problems:
                raise ComponentError(source.name, classes.problems)
            vars(module)["__aegis_guest__"] = guest
            survey = Survey(source, module)
            revision = survey.revision(frozenset(said.emits))
        except BaseException:
            guest.close()
            sys.modules.pop(unique, None)
            raise
        return replace(
            revision,
            needs=needs_of(world.needs, said),
            guest=guest,
        )

    def describe(self, source: Source) -> tuple[Description, Compiled, World]:
        """What a module says of itself, in a sandbox without any rights. Raises ComponentError."""
        compiled = self.compiled(source)
        world = world_of(self._machine, compiled, source)
        guest = WasmGuest(self._machine, compiled, world, DESCRIBING, source)
        try:
            text, _ = guest.call_now("describe", at_once=_nothing)
        except GuestError as error:
            trap = error.trap
            reason = error.detail if trap is None else trap.reason
            where = f", in {trap.frames[0]}" if trap is not None and trap.frames else ""
            hint = error.hint
            if hint is not None and "limits" in hint:  # which nobody knows yet
                hint = "it gives a text, and needs next to nothing for it"
            raise ComponentError(
                source.name, [f"its describe() was stopped: {reason}{where}"], hint=hint
            ) from None
        finally:
            guest.close()
        return read_description(text, source.name), compiled, world

    def assemble(self, text: str, name: str, version: str = "") -> bytes:
        """The module that a text (WAT) is, or stands for. Raises ComponentError with the line."""
        text = whole(text, name, version)
        try:
            return bytes(wasmtime.wat2wasm(text))
        except wasmtime.WasmtimeError as error:
            said = str(error)
            found = _PLACE.search(said)
            if found is None:
                raise ComponentError(name, [f"it cannot be assembled: {said}"]) from None
            line, column = map(int, found.groups())
            problem = f"line {line}: {said.partition(chr(10))[0]}: {_line(text, line)}"
            raise ComponentError(name, [problem], line=line, column=column) from None

    def compiled(self, source: Source) -> Compiled:
        """The compiled module. Raises ComponentError for what is none."""
        binary = source.binary
        if len(binary) > MOST:
            raise ComponentError(source.name, [f"it is larger than {MOST >> 20} MiB"])
        if not binary:
            raise ComponentError(source.name, ["it is empty"])
        if not binary.startswith((COMPONENT, MODULE)):
            raise ComponentError(
                source.name,
                ["it is no WebAssembly: neither a component nor a module"],
                hint="build it for a wasm target; see notebooks/wasm",
            )
        try:
            return self._machine.compiled(binary)
        except wasmtime.WasmtimeError as error:
            raise _uncompiled(source, str(error)) from None

    def _outbound(self, said: Description, world: World) -> Outbound | None:
        """Its way to the origins that it names, None where it calls none. Raises ComponentError."""
        if "http" not in world.imports:
            return None
        try:
            return Outbound(said.http)
        except InvalidError as error:
            raise ComponentError(said.name, [error.detail]) from None

    def _limits(self, said: Description) -> Limits:
        """What the guest asks for, which is at most what it may have."""
        most, asked = self._most, said.limits
        problems = [
            f"limits.{name} asks for {value}, and this host gives {given}"
            for name in ("seconds", "memory", "output", "fuel")
            if (value := getattr(asked, name)) is not None
            and (given := getattr(most, name)) is not None
            and value > given
        ]
        problems += [
            f"limits.{name} is {value}: it must be above 0"
            for name in ("seconds", "memory", "output", "fuel")
            if (value := getattr(asked, name)) is not None and value <= 0
        ]
        if problems:
            raise ComponentError(
                said.name, problems, hint="ask for less, or let the host give more in [wasm]"
            )
        chosen: dict[str, Any] = {
            name: value
            for name in ("seconds", "memory", "output", "fuel")
            if (value := getattr(asked, name)) is not None
        }
        return replace(most, **chosen)

    def _inline(self, said: Description, source: Source, world: World, limits: Limits) -> bool:
        """Whether it runs on the host's own thread. Raises ComponentError where it may not."""
        if not said.inline:
            return False
        if source.signed is None:
            raise ComponentError(
                said.name,
                ["it asks to run inline, on the host's own thread, and nobody signed it"],
                hint="leave out inline, or sign it with `aegis sign` and pin the key",
            )
        if said.calls or world.needs - {"clock", "random"}:
            raise ComponentError(
                said.name,
                ["it asks to run inline, and may ask the host for what takes time"],
                hint="leave out inline, or what it uses",
            )
        if said.limits.seconds is not None and limits.seconds > INLINE_MOST:
            raise ComponentError(
                said.name,
                [f"it asks to run inline for {limits.seconds:g} s: {INLINE_MOST:g} is the most"],
                hint="nobody else is served meanwhile: leave out inline, or do less in one call",
            )
        return True

    def unload(self, revision: Revision) -> None:
        """Take the revision's module out of the process, and end its sandbox."""
        if revision.guest is not None:
            revision.guest.close()
        if revision.module is not None:
            sys.modules.pop(revision.module.__name__, None)
            for clean in getattr(typing, "_cleanups", ()):
                clean()


def _uncompiled(source: Source, said: str) -> ComponentError:
    """What to raise of a module that is not sound; of a text with the line of its function."""
    found = _UNSOUND.search(said)
    line = None if found is None else functions(source.text).get(found[1] or "")
    if found is None or line is None:
        said = " ".join(said.replace("Caused by:", "").split())
        return ComponentError(source.name, [f"it cannot be compiled: {said}"])
    problem = f"line {line}: in ${found[1]}: {' '.join(found[2].split())}"
    return ComponentError(source.name, [problem], line=line)


def _line(text: str, number: int) -> str:
    """A line of a text, as far as people want to read it."""
    lines = text.splitlines()
    return lines[number - 1].strip()[:80] if number <= len(lines) else ""


def _nothing(what: str, arguments: tuple[Any, ...]) -> str:
    """The time and chance of a guest that only describes itself: nothing is granted yet."""
    return "0" if what == "clock.now" else "00" * int(arguments[0])

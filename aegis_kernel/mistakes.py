"""How errors look in a cell: a sentence and the author's own lines, not ours."""

from __future__ import annotations

import linecache
from pathlib import Path
from types import TracebackType

from IPython.core.interactiveshell import InteractiveShell

from aegis.core.component import Source
from aegis.core.errors import AegisError, ComponentError
from aegis_kernel.traps import backtrace

DOORWAY = str(Path(__file__).parent)


def remember(error: ComponentError, cause: BaseException) -> str | None:
    """Keep the refused files for tracebacks; the first of them that `cause` passed.

    The loader forgets a refused component at once, and its lines are wanted now.
    """
    for filename, text in error.texts.items():
        linecache.cache[filename] = (len(text), None, text.splitlines(keepends=True), filename)
    step = cause.__traceback__
    while step is not None:
        if step.tb_frame.f_code.co_filename in error.texts:
            return step.tb_frame.f_code.co_filename
        step = step.tb_next
    return None


def own_steps(step: TracebackType | None, filename: str | None) -> TracebackType | None:
    """A traceback from the component's first line on, without the loader's own frames."""
    while step is not None and step.tb_frame.f_code.co_filename != filename:
        step = step.tb_next
    return step


def place_in(source: Source, error: ComponentError) -> SyntaxError:
    """Where in a component's text an error is, as IPython shows such places."""
    line, column = error.fields["line"], error.fields.get("column")
    lines = source.text.split("\n")
    shown = lines[line - 1] if 0 < line <= len(lines) else ""
    said = error.problems[0].removeprefix(f"line {line}: ").removesuffix(f": {shown.strip()}")
    return SyntaxError(said, (source.file or source.name, line, column, shown))


def show_as(error: AegisError, before: list[str] | None = None) -> None:
    """Let IPython show `error` as its sentence, without the frames of the magic that it passed."""
    lines = [*(before or ()), f"{type(error).__name__}: {error}", *getattr(error, "__notes__", ())]
    vars(error)["_render_traceback_"] = lambda: lines


def show_mistake(
    shell: InteractiveShell,
    kind: type[AegisError],
    error: AegisError,
    step: TracebackType | None,
    tb_offset: int | None = None,
) -> None:
    """Show an error without the frames of the doorway at its end: IPython never hides the last.

    Of a guest that was stopped it shows where that was, by the guest's own functions.
    """
    trap = getattr(error, "trap", None)
    if trap is not None and not hasattr(error, "__notes__"):
        error.__notes__ = backtrace(trap)
    steps: list[TracebackType] = []
    while step is not None:
        steps.append(step)
        step = step.tb_next
    while steps and steps[-1].tb_frame.f_code.co_filename.startswith(DOORWAY):
        steps.pop()
    shown: TracebackType | None = None
    for own in reversed(steps):
        shown = TracebackType(shown, own.tb_frame, own.tb_lasti, own.tb_lineno)
    shell.showtraceback((kind, error, shown), tb_offset=tb_offset)

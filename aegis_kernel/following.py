"""How a followed component file looks in its cell: what serves from it, or where it broke."""

from __future__ import annotations

import html
import linecache
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from IPython.core.display_functions import display
from IPython.core.interactiveshell import InteractiveShell
from IPython.core.ultratb import FormattedTB, SyntaxTB
from IPython.display import DisplayHandle

from aegis.adapters.components.watch import Followed
from aegis.core.errors import AegisError, ComponentError
from aegis_kernel.mistakes import own_steps, remember
from aegis_kernel.tables import BAD, GOOD, QUIET


class FollowedView:
    """Followed files, a block each; in a notebook their cell shows it and keeps it up to date."""

    def __init__(self, states: Sequence[Followed] = (), nothing: str = "nothing is followed"):
        self._nothing = nothing
        self._lines: dict[Path, list[str]] = {}
        self._marks: dict[Path, str] = {}
        self._handle: DisplayHandle | None = None
        self._parent: Any = None
        self._shell: Any = None
        # A save may be told while the cell shows the one before.
        self._lock = threading.Lock()
        for state in states:
            self._take(state)

    def show(self, shell: InteractiveShell) -> None:
        """Show it in the running cell, and from now on there."""
        with self._lock:
            self._shell = shell
            get_parent = getattr(shell, "get_parent", None)  # a kernel's shell has one
            self._parent = None if get_parent is None else get_parent()
            self._handle = display(self, display_id=True)

    def tell(self, state: Followed) -> None:
        """Something came of a save. Called on the host's thread."""
        with self._lock:
            self._take(state)
            if self._handle is None:
                return
            tokens = None
            if self._parent:  # else it would show in whichever cell ran last
                tokens = self._shell.set_thread_parent(self._parent)
            try:
                self._handle.update(self)
            finally:
                if tokens is not None:
                    self._shell.reset_thread_parent(tokens)

    def _take(self, state: Followed) -> None:
        self._lines[state.path] = list(_lines(state))
        self._marks[state.path] = QUIET if state.ended else GOOD if state.error is None else BAD

    def __repr__(self) -> str:
        return "\n".join(line for lines in self._lines.values() for line in lines) or self._nothing

    def _repr_html_(self) -> str:
        blocks = []
        for path, lines in self._lines.items():
            head, *rest = map(html.escape, lines)
            text = f'<span style="color:{self._marks[path]}">\u25cf</span> {head}'
            if rest:
                text += f'<pre style="margin:4px 0 4px 16px">{chr(10).join(rest)}</pre>'
            blocks.append(f"<div>{text}</div>")
        return "".join(blocks) or f"<div>{html.escape(self._nothing)}</div>"


def _lines(state: Followed) -> Sequence[str]:
    served = state.deployment
    at = "" if state.at is None else f"{state.at:%H:%M:%S}"
    name = state.path.name
    if state.ended:
        label = state.component if served is None else f"{served.component} {served.version}"
        return [f"{label} from {name}: followed until {at}, and no more"]
    if state.error is None and served is not None:
        saves = f"{state.saves} save{'' if state.saves == 1 else 's'}"
        label = f"{served.component} {served.version} ({served.digest[:8]})"
        return [f"{label} from {name}: live at {at}, {state.ms:.0f} ms after the save; {saves}"]
    lines = [f"{name} is broken since {at}"]
    if state.error is not None:
        lines += traceback_lines(state.error)
    if served is not None:
        lines.append(f"{served.component} {served.version} ({served.digest[:8]}) still serves.")
    return lines


def traceback_lines(error: AegisError) -> list[str]:
    """What `%%component` shows of an error, without colours: the component's own lines first.

    It has formatters of its own, because those of the shell belong to the thread of the cells.
    """
    said = [*f"{type(error).__name__}: {error}".splitlines(), *getattr(error, "__notes__", ())]
    cause = error.__cause__
    if not isinstance(error, ComponentError) or cause is None:
        return said
    filename = remember(error, cause)
    try:
        if isinstance(cause, SyntaxError):
            plain: Any = SyntaxTB(theme_name="nocolor")
            lines = plain.structured_traceback(type(cause), cause, None)
        else:
            plain = FormattedTB(mode="Context", theme_name="nocolor")
            own = own_steps(cause.__traceback__, filename)
            lines = plain.structured_traceback(type(cause), cause, own)
    finally:
        for known in error.texts:
            linecache.cache.pop(known, None)
    return [*"\n".join(lines).strip("\n").splitlines(), "", *said]

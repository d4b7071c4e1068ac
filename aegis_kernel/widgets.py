"""The views of a host as anywidgets, for frontends that lack our extension.

The widget draws what the extension draws, from the same sources: its state has what was known when
it was made, so that it shows something without a kernel too, and its custom messages carry a
session with the host (`comms.carry`).
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aegis.core.errors import AegisError

if TYPE_CHECKING:
    from aegis_kernel.hosting import HostThread
    from aegis_kernel.views import Live

# Made of labextension/src/widget.ts by `npm run widget`.
STATIC = Path(__file__).parent / "static"


class MissingWidgetError(AegisError):
    """A widget was asked for where anywidget is not installed."""

    title = "anywidget is missing"


def needed(thread: HostThread | None) -> bool:
    """Whether a cell should show the widget beside the data: a person looks, without our extension.

    papermill and nbclient let nobody type, and what reads their notebooks would show a widget
    blank.
    """
    from IPython.core.getipython import get_ipython

    kernel = getattr(get_ipython(), "kernel", None)
    if kernel is None or thread is None or thread.comms is None or thread.comms.attached:
        return False
    if not kernel.get_parent("shell").get("content", {}).get("allow_stdin", False):
        return False
    try:
        _class()
    except MissingWidgetError:
        return False
    return True


def widget_of(view: Live) -> Any:
    """An anywidget that draws `view`, live while its kernel and host are there."""
    widget = _class()(view=view.seen(), svg=view.svg or "")
    comms = None if view.thread is None else view.thread.comms
    if comms is not None:
        comms.carry(widget)
    return widget


@cache
def _class() -> Any:
    try:
        import anywidget
        import traitlets
    except ImportError as error:
        raise MissingWidgetError(
            "a view as a widget needs anywidget", hint="install it: %pip install anywidget"
        ) from error

    class AegisView(anywidget.AnyWidget):
        """A view of a host."""

        _esm = (STATIC / "widget.js").read_text(encoding="utf-8")
        _css = (STATIC / "widget.css").read_text(encoding="utf-8")
        view = traitlets.Dict().tag(sync=True)
        svg = traitlets.Unicode().tag(sync=True)

    return AegisView

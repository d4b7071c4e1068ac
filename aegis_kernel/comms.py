"""Carries the sessions of views over Jupyter's comms, past whatever cell is running.

A view opens a comm of the target `aegis.session` and puts the messages of `core/wire.py` into its
`data`, in both directions; the `data` of `comm_open` may be the `Open` already. `comm_close` ends
the session; when the host ends it, its `comm_close` has the `data` `{"reason": TEXT}`, and the view
opens another comm. Where no host runs, the comm stays open, a `Reply` with the id 0 says why, and
the session begins with `Hello` as soon as there is one: the view need not ask again.

In the kernel of Aegis these messages go from the shell channel's thread straight to the host's
loop. They are answered while a cell runs, and there is no busy and no idle status for them. A
client that keeps a future for each message until it is idle, as JupyterLab does, has to drop it:
`comm.send(...).dispose()`. In a stock kernel (`%load_ext aegis_kernel`) they come through the main
thread as all comms do: what a view asks waits for the cell that runs, frames do not.

A widget's comm can carry a session too, in its custom messages (`carry`).
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from aegis.api.session import STALLED, Session, Sessions, outline, refusal
from aegis.core.errors import AegisError, ClosedError
from aegis.core.wire import Right
from aegis.engine.host import Host

if TYPE_CHECKING:
    from comm.base_comm import BaseComm
    from ipykernel.ipkernel import IPythonKernel

    from aegis_kernel.hosting import HostThread

TARGET = "aegis.session"
# Who reaches the kernel may run any code in it: there is nothing to keep from a view.
RIGHTS: tuple[Right, ...] = ("view", "steer")


class _Content(msgspec.Struct):
    """The content of comm_open, comm_msg and comm_close, in and out."""

    comm_id: str
    data: msgspec.Raw = msgspec.Raw(b"{}")
    target_name: str = ""


class _Custom(msgspec.Struct):
    """The data of a widget's message; `custom` is the method of those that are no state."""

    method: str = "custom"
    content: msgspec.Raw = msgspec.Raw(b"{}")


_CONTENT = msgspec.json.Decoder(_Content)
_CUSTOM = msgspec.json.Decoder(_Custom)


class _Carrier:
    """One comm with a view at its other end. `comm` is there where the comm manager has it."""

    def __init__(self, id: str, *, widget: bool, comm: BaseComm | None = None) -> None:
        self.id = id
        self.widget = widget
        self.comm = comm
        self.session: Session | None = None  # for the host's thread
        self.waiting: bytes | None = None  # the `Open` of a view that waits for a host


class Comms:
    """The comms between the views of a kernel and the host that runs in `thread`."""

    def __init__(self, kernel: IPythonKernel, thread: HostThread) -> None:
        self._kernel = kernel
        self._thread = thread
        self._carriers: dict[str, _Carrier] = {}
        # Which host there is, and who waits for one, is asked from three threads.
        self._lock = threading.Lock()
        self._serving: tuple[asyncio.AbstractEventLoop, Sessions] | None = None
        thread.comms = self

    @property
    def attached(self) -> bool:
        """Whether a frontend with our extension is at the other end, as far as can be known.

        Browsers leave without a word: who takes no frames any more counts as gone.
        """
        return any(
            not carrier.widget and (session is None or session.stalled < STALLED)
            for carrier in list(self._carriers.values())
            for session in [carrier.session]
        )

    # --- the host's side ------------------------------------------------------------------------

    @contextmanager
    def serving(self, host: Host) -> Generator[None]:
        """Let views have sessions with `host`, on its loop, until the block ends."""
        from aegis.adapters.graph import svg, tree

        sessions = Sessions(
            host, svg.render, tree.render, lambda plan: svg.render(plan.graph, marks=plan.marks)
        )
        with self._lock:
            self._serving = (asyncio.get_running_loop(), sessions)
            waiting = [(one, one.waiting) for one in self._carriers.values() if one.waiting]
        for carrier, opening in waiting:
            carrier.waiting = None
            self._receive(sessions, carrier, opening)
        try:
            yield
        finally:
            with self._lock:
                self._serving = None
            sessions.close("the host was closed")

    def _receive(self, sessions: Sessions, carrier: _Carrier, text: bytes) -> None:
        if self._carriers.get(carrier.id) is not carrier:
            return  # it was closed meanwhile
        if carrier.session is None:
            try:
                carrier.session = sessions.begin(
                    partial(self._send, carrier),
                    rights=RIGHTS,
                    ended=partial(self._ended, carrier),
                )
            except AegisError as error:
                self._send(carrier, refusal(text, error))
                return
        carrier.session.receive(text)

    def _ended(self, carrier: _Carrier, reason: str) -> None:
        session, carrier.session = carrier.session, None
        if carrier.widget:
            # The widget stays: its session begins anew with the next host.
            if session is not None and session.opening is not None:
                carrier.waiting = msgspec.json.encode(session.opening)
            self._send(carrier, refusal(b"", ClosedError(reason)))
            return
        self._carriers.pop(carrier.id, None)
        if carrier.comm is not None:
            carrier.comm.close({"reason": reason})
        else:
            self._publish("comm_close", carrier, msgspec.json.encode({"reason": reason}))

    # --- the view's side ------------------------------------------------------------------------

    def carry(self, widget: Any) -> None:
        """Let the custom messages of an ipywidget carry a session, as long as it has its comm."""
        if widget.comm is None:
            return  # nobody can look at it
        id = widget.comm.comm_id
        self._carriers[id] = _Carrier(id, widget=True)
        # What is diverted does not come this way.
        widget.on_msg(lambda _, said, __: self.hear(id, msgspec.json.encode(said)))
        widget.comm.on_close(lambda _: self.drop(id))
        widget.observe(lambda _: self.drop(id), names="comm")

    def drop(self, id: str) -> None:
        """The comm is closed: its session ends."""
        carrier = self._carriers.pop(id, None)
        with self._lock:
            serving = self._serving
        if carrier is not None and serving is not None:
            self._on_loop(serving[0], self._leave, carrier)

    def _leave(self, carrier: _Carrier) -> None:
        if carrier.session is not None:
            carrier.session.close()

    def hear(self, id: str, text: bytes, parent: dict[str, Any] | None = None) -> None:
        """A view said `text`, JSON. `parent` is the message that brought it, for its output."""
        carrier = self._carriers.get(id)
        if carrier is None:
            return
        with self._lock:
            serving = self._serving
            if serving is None and outline(text).kind == "open":
                carrier.waiting = text
        if serving is not None:
            loop, sessions = serving
            context = self._context(parent)
            if self._on_loop(loop, self._receive, sessions, carrier, text, context=context):
                return
        self._send(carrier, refusal(text, self._thread.closed()))

    def _on_loop(self, loop: asyncio.AbstractEventLoop, *call: Any, **more: Any) -> bool:
        try:
            loop.call_soon_threadsafe(*call, **more)
        except RuntimeError:
            return False  # it was closed this very moment
        return True

    def _context(self, parent: dict[str, Any] | None) -> contextvars.Context:
        """A context whose output belongs to `parent`, and to no cell."""
        context = contextvars.Context()
        pin = getattr(self._kernel.shell, "set_thread_parent", None)
        if parent is not None and pin is not None:
            context.run(pin, parent)
        return context

    # --- Jupyter's side -------------------------------------------------------------------------

    def divert(self, frames: list[Any]) -> bool:
        """Take a message of the shell channel that is for a view's session; whether it was.

        Runs on the thread of that channel. What is not ours, or not signed by one who may, is left
        to the kernel as it is.
        """
        session: Any = self._kernel.session
        if session is None:
            return False
        try:
            _, parts = session.feed_identities(frames, copy=False)
            if b'"comm_' not in parts[1].bytes:
                return False
            message = session.deserialize(parts, content=False, copy=False)
            content = _CONTENT.decode(message["content"])
            if not self._is_ours(message["msg_type"], content):
                return False
            # Once more, now with a note of the signature, so that nobody can send it again.
            parent = session.deserialize(parts, content=True, copy=False)
        except Exception:  # noqa: BLE001 -- the kernel itself says what is wrong with a message
            return False
        return self._take(message["msg_type"], content, parent)

    def _is_ours(self, kind: str, content: _Content) -> bool:
        if kind == "comm_open":
            return content.target_name == TARGET
        carrier = self._carriers.get(content.comm_id)
        if carrier is None or carrier.comm is not None:
            return False
        return not carrier.widget or (kind == "comm_msg" and _is_custom(content.data))

    def _take(self, kind: str, content: _Content, parent: dict[str, Any]) -> bool:
        id, text = content.comm_id, bytes(content.data)
        if kind == "comm_close":
            self.drop(id)
            return True
        if kind == "comm_open":
            self._carriers[id] = _Carrier(id, widget=False)
            if not outline(text).kind:
                return True
        elif self._carriers[id].widget:
            text = bytes(_CUSTOM.decode(text).content)
        self.hear(id, text, parent)
        return True

    def register(self) -> None:
        """Be found by the comm manager, in a kernel whose messages cannot be diverted."""
        import comm

        comm.get_comm_manager().register_target(TARGET, self._opened)

    def unregister(self) -> None:
        """Take back what `register` did."""
        import comm

        comm.get_comm_manager().unregister_target(TARGET, self._opened)

    def _opened(self, comm: BaseComm, message: dict[str, Any]) -> None:
        id = comm.comm_id
        comm.on_msg(lambda said: self.hear(id, _data(said), said))
        comm.on_close(lambda _: self.drop(id))
        self._carriers[id] = _Carrier(id, widget=False, comm=comm)
        if outline(_data(message)).kind:
            self.hear(id, _data(message), message)

    def _send(self, carrier: _Carrier, text: bytes) -> None:
        if carrier.widget:
            text = msgspec.json.encode(_Custom(content=msgspec.Raw(text)))
        self._publish("comm_msg", carrier, text)

    def _publish(self, kind: str, carrier: _Carrier, data: bytes) -> None:
        """Send on IOPub, from any thread: its socket hands over to a thread of its own."""
        session: Any = self._kernel.session
        if session is None:
            return
        content = b'{"comm_id":%b,"data":%b}' % (msgspec.json.encode(carrier.id), data)
        session.send(
            self._kernel.iopub_socket,
            kind,
            content,  # packed already, so it is sent as it is
            parent={},
            ident=f"comm-{carrier.id}".encode(),
        )


def _is_custom(data: msgspec.Raw) -> bool:
    try:
        return _CUSTOM.decode(data).method == "custom"
    except msgspec.DecodeError:
        return False


def _data(message: dict[str, Any]) -> bytes:
    return msgspec.json.encode(message["content"].get("data"))

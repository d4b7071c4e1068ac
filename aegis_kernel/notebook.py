"""One notebook and its host: `%%component`, `%aegis`, and what components define as names."""

from __future__ import annotations

import ast
import atexit
import builtins
import dis
import html
import inspect
import linecache
import os
import secrets
import shlex
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, TracebackType
from typing import Any

from IPython.core.completer import CompletionContext, SimpleCompletion, context_matcher
from IPython.core.error import StdinNotImplementedError, UsageError
from IPython.core.interactiveshell import ExecutionInfo, InteractiveShell
from IPython.core.magic import Magics, cell_magic, line_magic, magics_class

from aegis.configuration import Config, environment, read
from aegis.core.component import NAME, VERSION, Revision
from aegis.core.deployment import Deployment
from aegis.core.errors import AegisError, ComponentError, closest
from aegis.core.graph import Graph
from aegis.core.registry import Registry
from aegis_kernel import display
from aegis_kernel.display import DeploymentView
from aegis_kernel.hosting import HostThread, NotebookHost

DOORWAY = str(Path(__file__).parent)
COMPONENT_USAGE = f"{'%%component NAME VERSION':<40}make this cell a component and deploy it"


def lab_data() -> Path:
    """Where the host of a notebook keeps its data: `.aegis/<notebook>/lab` beside the notebook.

    Jupyter says which notebook it is. A console is none, and gets a directory in the working
    directory, named after its kernel, which a restart keeps.
    """
    path = Path(os.environ.get("JPY_SESSION_NAME", ""))
    if path.suffix == ".ipynb":
        return path.absolute().parent / ".aegis" / path.stem / "lab"
    from ipykernel.kernelapp import IPKernelApp

    name = "ipython"
    if IPKernelApp.initialized():
        name = Path(IPKernelApp.instance().connection_file).stem
    return Path.cwd() / ".aegis" / name / "lab"


def lab_config(
    *, port: int = 0, data: str = "", ephemeral: bool = False, token: str = ""
) -> Config:
    """The configuration of a notebook's host: what is given, the environment's, or the default.

    The environment says it with AEGIS_PORT, AEGIS_DATA, AEGIS_EPHEMERAL and AEGIS_TOKEN; the
    defaults are aegis.toml's or a free port, the usual directory and a new token.
    Raises ConfigError.
    """
    given: dict[str, Any] = {"token": secrets.token_hex(24), **environment()}
    if token:
        given["token"] = token
    if port:
        given["port"] = port
    if data:
        given["data"] = Path(data).expanduser().absolute()
    if ephemeral:
        given["data"] = None
    if "data" not in given:
        given["data"] = lab_data()
    return read(**given)


def load(shell: InteractiveShell) -> None:
    """Give a stock IPython session what the kernel of Aegis brings."""
    if AegisMagics.__name__ in shell.magics_manager.registry:
        raise UsageError("Aegis is here already: `host` is its host")
    notebook = Notebook(shell, HostThread())
    notebook.attach()
    notebook.start()
    # Closing needs executors, which are gone when atexit has its turn; concurrent.futures itself
    # registers with threading for this.
    getattr(threading, "_register_atexit", atexit.register)(notebook.thread.close)
    print(notebook.where())


def unload(shell: InteractiveShell) -> None:
    """Close the host of a session and take its names away."""
    magics = shell.magics_manager.registry.get(AegisMagics.__name__)
    if magics is not None:
        magics.notebook.detach()
        magics.notebook.thread.close()


class Notebook:
    """Joins an IPython shell and a host: `host`, the magics and the names of components."""

    def __init__(self, shell: InteractiveShell, thread: HostThread) -> None:
        self.shell = shell
        self.thread = thread
        self.host = NotebookHost(thread)
        self._bound: dict[str, tuple[str, weakref.ref[Any]]] = {}
        self._seen: weakref.ref[Registry] | None = None
        self._untold: str | None = None
        self._given: dict[str, Any] | None = None  # None: whoever made the thread starts it

    # --- life -----------------------------------------------------------------------------------

    def attach(self) -> None:
        """Give the shell `host` and the magics."""
        self.shell.register_magics(AegisMagics(self))
        self.shell.user_ns["host"] = self.host
        display.register(self.shell)
        self.shell.set_custom_exc((AegisError,), _show_mistake)
        self.shell.events.register("pre_run_cell", self._before_cell)
        self.shell.Completer.custom_matchers.append(_complete)

    def detach(self) -> None:
        """Take everything back that `attach` and the components gave."""
        self.shell.set_custom_exc((), None)
        self.shell.events.unregister("pre_run_cell", self._before_cell)
        self.shell.Completer.custom_matchers.remove(_complete)
        for kind, name in (("cell", "component"), ("line", "aegis")):
            self.shell.magics_manager.magics[kind].pop(name, None)
        self.shell.magics_manager.registry.pop(AegisMagics.__name__, None)
        display.unregister(self.shell)
        self._unbind(set(self._bound))
        if self.shell.user_ns.get("host") is self.host:
            del self.shell.user_ns["host"]

    def start(self, **given: Any) -> None:
        """Start the host as `lab_config(**given)` says.

        When it cannot start, that is said before the next cell and whenever the host is used: the
        notebook itself works, whatever is wrong.
        """
        self._given = given
        try:
            self.thread.start(lab_config(**given))
        except Exception as error:  # noqa: BLE001 -- see above
            self.thread.failure = error
            self._untold = f"Aegis: {self.where()}"

    def move(self, data: str) -> None:
        """Close the host and start it on another data directory.

        Under `aegis-serve` the command line says where the data is, and this says so.
        """
        if self._given is None:
            print("aegis-serve keeps its data where --data says")
            return
        before, was_open = self._given, self.thread.is_open
        given: dict[str, Any] = {**before, "data": data, "ephemeral": False}
        self.thread.close()
        self._unbind(set(self._bound))
        try:
            self.thread.start(lab_config(**given))
        except AegisError as error:
            if was_open:
                self.thread.start(lab_config(**before))
                error.add_note("The host stays where it was; run the cells of components again.")
            raise
        self._given = given

    def where(self) -> str:
        """One line: where the host answers and keeps its data, or why there is none."""
        if not self.thread.is_open:
            return f"{self.host!r}. `%aegis data DIRECTORY` takes another directory"
        config = self.thread.config
        data = None if config is None else config.data
        kept = "nothing is kept on disk" if data is None else f"data in {data}"
        return f"the API is at {self.host.address}, {kept}"

    def _before_cell(self, _: ExecutionInfo) -> None:
        untold, self._untold = self._untold, None
        if untold is not None:
            print(untold, file=sys.stderr)
        if self.thread.is_open:
            self.bind()  # what was deployed since, from wherever

    # --- names ----------------------------------------------------------------------------------

    def bind(self) -> list[str]:
        """Bind what the live components define in the user's namespace; what to say about it.

        A name that the user has bound to something else since stays the user's.
        """
        registry = self.thread.host.engine.registry
        if self._seen is not None and self._seen() is registry:
            return []
        self._seen = weakref.ref(registry)
        owners: dict[str, str] = {}
        notes: list[str] = []
        for component, revision in registry.live.items():
            for name, value in revision.names.items():
                owner = owners.setdefault(name, component)
                if owner != component:
                    notes.append(
                        f"{name} is in {owner} and in {component}: here it means that of {owner}"
                    )
                elif self._is_the_users(name):
                    notes.append(f"{name} of {component} is not bound: the name is yours by now")
                else:
                    self.shell.user_ns[name] = value
                    self._bound[name] = (component, weakref.ref(value))
        self._unbind(self._bound.keys() - owners.keys())
        return notes

    def _is_the_users(self, name: str) -> bool:
        if name == "host":
            return True
        if name not in self._bound or name not in self.shell.user_ns:
            return False
        return self._bound[name][1]() is not self.shell.user_ns[name]

    def _unbind(self, names: set[str]) -> None:
        for name in names:
            if not self._is_the_users(name):
                self.shell.user_ns.pop(name, None)
            del self._bound[name]

    def definer(self, name: str) -> str | None:
        """Who defines `name` outside of a component: `component shop`, `cell 3`, or None."""
        if name in self._bound and not self._is_the_users(name):
            return f"component {self._bound[name][0]}"
        if name not in self.shell.user_ns:
            return None
        cells = list(enumerate(self.shell.user_ns.get("In", ())))
        return next((f"cell {n}" for n, text in reversed(cells) if _defines(text, name)), None)

    # --- deploying ------------------------------------------------------------------------------

    def deploy(self, name: str, version: str, text: str, origin: str) -> Deployed:
        """Deploy `text` and tell what came of it. A ComponentError tells where it broke."""
        host = self.thread.host
        before, graph = host.engine.registry.live.get(name), self.thread.call(host.graph)
        try:
            deployment = self.thread.call(host.deploy, name, version, text, origin=origin)
        except ComponentError as error:
            self._explain(error, text, origin, before)
            raise
        return self._deployed(deployment, before, graph)

    def rollback(self, name: str) -> Deployed:
        """Serve the revision before this one again."""
        host = self.thread.host
        before, graph = host.engine.registry.live.get(name), self.thread.call(host.graph)
        return self._deployed(self.thread.call(host.rollback, name), before, graph)

    def _deployed(self, deployment: Deployment, before: Revision | None, graph: Graph) -> Deployed:
        host = self.thread.host
        after = host.engine.registry.live[deployment.component]
        notes = [note for note in self.bind() if after.name in note]
        notes += [
            f"line {line}: {name} is not defined in this component: {self._elsewhere(name)}"
            for name, line in _missing(after)
        ]
        return Deployed(
            view=DeploymentView(deployment, after, self.host.address),
            changes=_changes(before, after, graph, self.thread.call(host.graph)),
            notes=tuple(notes),
        )

    def _elsewhere(self, name: str) -> str:
        definer = self.definer(name)
        if definer is None:
            return "define or import it there"
        return f"{definer} defines it, and a component sees only what it defines or imports itself"

    def _explain(
        self, error: ComponentError, text: str, origin: str, before: Revision | None
    ) -> None:
        """Let the error show the component's own lines, and what serves now."""
        cause = error.__cause__
        lines: list[str] = []
        if cause is not None:
            filename = _remember(cause, text, origin)
            if isinstance(cause, SyntaxError):
                lines = self.shell.SyntaxTB.structured_traceback(type(cause), cause, None)
            else:
                own = _from(cause.__traceback__, filename)
                lines = self.shell.InteractiveTB.structured_traceback(type(cause), cause, own)
            if isinstance(cause, NameError) and cause.name is not None:
                error.add_note(f"{cause.name}: {self._elsewhere(cause.name)}")
        if before is not None:
            error.add_note(f"{before.name} {before.version} ({before.digest[:8]}) still serves.")
        _show_as(error, [*lines, ""] if lines else [])


@dataclass(frozen=True, kw_only=True)
class Deployed:
    """What a deploy came to, as its cell shows it."""

    view: DeploymentView
    changes: tuple[str, ...]
    notes: tuple[str, ...]

    def __repr__(self) -> str:
        notes = (f"note: {note}" for note in self.notes)
        return "\n  ".join((f"{self.view!r} at {self.view.address}", *self.changes, *notes))

    def _repr_html_(self) -> str:
        lines = [html.escape(change) for change in self.changes]
        lines += [f"<strong>Note</strong> {html.escape(note)}" for note in self.notes]
        return f"<div>{self.view._repr_html_()}{'<br>'.join(lines)}</div>"


def _changes(
    before: Revision | None, after: Revision, old: Graph, new: Graph, limit: int = 8
) -> tuple[str, ...]:
    """What a deploy changed, a line each."""
    if before is None:
        return ()
    if before.digest == after.digest:
        return ("nothing changed: this very code served already",)
    was, now = {node.id: node for node in old.nodes}, {node.id: node for node in new.nodes}
    lines = [f"- {_said(node.id)}" for node in old.nodes if node.id not in now]
    lines += [f"+ {_said(node.id)}" for node in new.nodes if node.id not in was]
    lines += [
        f"~ {_said(id)}: {was[id].detail} -> {node.detail}"
        for id, node in now.items()
        if id in was and was[id].detail != node.detail
    ]
    # An edge of a node that came or went goes without saying.
    for sign, edges, others in (("-", old.edges, new.edges), ("+", new.edges, old.edges)):
        lines += [
            f"{sign} {_said(edge.source)} {edge.kind} {_said(edge.target)}"
            for edge in edges
            if edge not in others and {edge.source, edge.target} <= was.keys() & now.keys()
        ]
    if not lines:
        lines = [f"new code, same graph (was {before.digest[:8]})"]
    if before.version != after.version:
        lines.insert(0, f"{before.version} -> {after.version}")
    more = len(lines) - limit
    return (*lines[:limit], f"and {more} more") if more > 0 else tuple(lines)


def _said(id: str) -> str:
    """`port:orders.Order.pick` as `port orders.Order.pick`."""
    return id.replace(":", " ", 1)


# --- what a component's code says -----------------------------------------------------------------


def _defines(text: str, name: str) -> bool:
    """Whether a cell binds `name` at its top level."""
    try:
        body = ast.parse(text).body
    except SyntaxError:
        return False
    for statement in body:
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            if statement.name == name:
                return True
            continue
        for node in ast.walk(statement):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id == name:
                return True
            if isinstance(node, ast.alias) and (node.asname or node.name.split(".")[0]) == name:
                return True
    return False


def _missing(revision: Revision) -> Iterator[tuple[str, int]]:
    """Names that a component's functions use and nobody defines, with the line of the first use.

    Only running them would tell otherwise, maybe days later in a flow.
    """
    module = revision.module
    if module is None:
        return
    known = vars(module).keys() | vars(builtins).keys()
    seen: set[str] = set()
    for name, line in _globals(compile(revision.source.text, "", "exec", dont_inherit=True)):
        if name not in known and name not in seen:
            seen.add(name)
            yield name, line


def _globals(code: CodeType) -> Iterator[tuple[str, int]]:
    line = code.co_firstlineno
    for step in dis.get_instructions(code):
        line = step.starts_line or line
        if step.opname == "LOAD_GLOBAL":
            yield step.argval, line
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _globals(constant)


# --- how its errors look --------------------------------------------------------------------------


def _remember(cause: BaseException, text: str, origin: str) -> str | None:
    """Keep the refused text for tracebacks; the name under which the interpreter knows it.

    The loader forgets a refused component at once, and its lines are wanted now.
    """
    mark = f"<{origin} "
    filename = cause.filename if isinstance(cause, SyntaxError) else None
    step = cause.__traceback__
    while step is not None and filename is None:
        if step.tb_frame.f_code.co_filename.startswith(mark):
            filename = step.tb_frame.f_code.co_filename
        step = step.tb_next
    if filename is not None:
        linecache.cache[filename] = (len(text), None, text.splitlines(keepends=True), filename)
    return filename


def _from(step: TracebackType | None, filename: str | None) -> TracebackType | None:
    """A traceback from the component's first line on, without the loader's own frames."""
    while step is not None and step.tb_frame.f_code.co_filename != filename:
        step = step.tb_next
    return step


def _show_as(error: AegisError, before: list[str] | None = None) -> None:
    """Let IPython show `error` as its sentence, without the frames of the magic that it passed."""
    lines = [*(before or ()), f"{type(error).__name__}: {error}", *getattr(error, "__notes__", ())]
    vars(error)["_render_traceback_"] = lambda: lines


def _show_mistake(
    shell: InteractiveShell,
    kind: type[AegisError],
    error: AegisError,
    step: TracebackType | None,
    tb_offset: int | None = None,
) -> None:
    """Show an error without the frames of the doorway at its end: IPython never hides the last."""
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


# --- the magics -----------------------------------------------------------------------------------


@context_matcher()  # type: ignore[untyped-decorator]
def _complete(context: CompletionContext) -> dict[str, Any]:
    line = context.line_with_cursor.lstrip()
    fits = line.startswith("%aegis ") and len(line.split(" ")) == 2
    words = [word for word in WORDS if word.startswith(context.token)] if fits else []
    found = [SimpleCompletion(text=word, type="magic") for word in words]
    return {"completions": found, "suppress": fits}


@magics_class
class AegisMagics(Magics):
    """`%%component` and `%aegis`."""

    def __init__(self, notebook: Notebook) -> None:
        super().__init__(notebook.shell)
        self.notebook = notebook

    @cell_magic
    def component(self, line: str, cell: str) -> Deployed:
        """Make this cell a component and deploy it:  %%component NAME VERSION

        The cell has a namespace of its own: it sees what it imports and defines, not other
        cells' names. Running it again replaces what serves; if it is broken, what served before
        goes on. Afterwards its classes and functions can be used in the other cells.
        """
        words = line.split()
        if len(words) != 2:
            raise UsageError("a component has a name and a version: %%component orders 1.2.0")
        name, version = words
        _check(name, version)
        # The magic's own line is line 1, as the cell shows it.
        origin = f"cell {len(self.notebook.shell.user_ns['In']) - 1}"  # as the number beside it
        try:
            return self.notebook.deploy(name, version, "\n" + cell, origin)
        except AegisError as error:
            if "_render_traceback_" not in vars(error):
                _show_as(error)
            raise

    @line_magic
    def aegis(self, line: str) -> Any:
        """Look after the host of this notebook; `%aegis help` lists the words."""
        try:
            word, *rest = shlex.split(line) or ["help"]
        except ValueError as error:
            raise UsageError(f"%aegis: {error}") from None
        if word not in WORDS:
            hint = closest(word, WORDS) or f"it knows {', '.join(WORDS)}"
            raise UsageError(f"%aegis does not know {word!r} ({hint})")
        verb = WORDS[word]
        rest.sort(key=lambda argument: argument.startswith("--"))
        try:
            inspect.signature(verb).bind(self, *rest)
        except TypeError:
            usage = " ".join(_usage(word).split())
            raise UsageError(f"write it as:  {usage}") from None
        try:
            return verb(self, *rest)
        except AegisError as error:
            if "_render_traceback_" not in vars(error):
                _show_as(error)
            raise

    def do_status(self) -> NotebookHost:
        """-- what serves, what waits, what is wrong"""
        return self.notebook.host

    def do_deploy(self, file: str, name: str, version: str) -> Deployed:
        """FILE NAME VERSION -- deploy the component in a .py file"""
        _check(name, version)
        path = Path(file).expanduser()
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{path} cannot be read: {error}") from None
        return self.notebook.deploy(name, version, text, str(path))

    def do_rollback(self, name: str) -> Deployed:
        """NAME -- serve the revision before this one again"""
        return self.notebook.rollback(name)

    def do_undeploy(self, name: str) -> None:
        """NAME -- stop serving a component; its records stay"""
        thread = self.notebook.thread
        thread.call(thread.host.undeploy, name)
        self.notebook.bind()
        print(f"{name} serves no more; its records are kept.")

    def do_reset(self, name: str, yes: str = "") -> None:
        """NAME [--yes] -- drop all data of a component"""
        if yes != "--yes":
            try:
                answer = input(f"Drop all data of component {name}? [y/N] ")
            except (EOFError, StdinNotImplementedError):
                raise UsageError(f"nobody can be asked here; %aegis reset {name} --yes") from None
            if answer.strip().lower() not in {"y", "yes"}:
                print("Nothing was dropped.")
                return
        thread = self.notebook.thread
        number = thread.call(thread.host.reset, name)
        print(f"{number} record{'' if number == 1 else 's'} of {name} dropped.")

    def do_resume(self) -> None:
        """-- load the code that open flows wait for, and go on with them"""
        thread = self.notebook.thread
        labels = thread.call(thread.host.resume)
        self.notebook.bind()
        print(f"Resumed: {', '.join(labels)}" if labels else "No flow waits for code.")

    def do_data(self, directory: str) -> NotebookHost:
        """DIRECTORY -- go on with another data directory; the host starts anew"""
        self.notebook.move(directory)
        return self.notebook.host

    def do_help(self) -> None:
        """-- these lines"""
        print(COMPONENT_USAGE, *map(_usage, WORDS), sep="\n")


# Each `do_` method is a word of `%aegis`; its docstring is `ARGUMENTS -- what it does`.
WORDS: dict[str, Callable[..., Any]] = {
    name.removeprefix("do_"): verb
    for name, verb in vars(AegisMagics).items()
    if name.startswith("do_")
}


def _usage(word: str) -> str:
    arguments, _, meaning = (WORDS[word].__doc__ or "").partition("-- ")
    return f"{f'%aegis {word} {arguments}':<40}{meaning}"


def _check(name: str, version: str) -> None:
    if not NAME.match(name):
        raise UsageError(
            f"{name!r} is no component name: lower case letters, digits, - and _, a letter first"
        )
    if not VERSION.match(version):
        raise UsageError(f"{version!r} is no version: write three numbers, as 1.2.0")

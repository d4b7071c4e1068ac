"""One notebook and its host: they share `host`, the magics and what components define as names."""

from __future__ import annotations

import atexit
import os
import secrets
import sys
import threading
import weakref
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from IPython.core.display_functions import display as show
from IPython.core.error import UsageError
from IPython.core.interactiveshell import ExecutionInfo, InteractiveShell

from aegis.adapters.components.files import component_files, read_component
from aegis.configuration import Config, environment, read
from aegis.core import wat
from aegis.core.component import Revision, Source
from aegis.core.deployment import Deployment
from aegis.core.errors import AegisError, ComponentError, GateError
from aegis.core.graph import Graph
from aegis.core.registry import Registry
from aegis.core.rehearsal import Gate
from aegis.engine.host import Host
from aegis_kernel import about, completion, display, plans
from aegis_kernel.cells import running_cell
from aegis_kernel.comms import Comms
from aegis_kernel.deployed import Deployed, changes_of, defines, missing
from aegis_kernel.display import DeploymentView
from aegis_kernel.hosting import HostThread, NotebookHost
from aegis_kernel.magics import AegisMagics, arguments
from aegis_kernel.migration import MigrationView, migrated
from aegis_kernel.mistakes import own_steps, place_in, remember, show_as, show_mistake
from aegis_kernel.outputs import Outputs
from aegis_kernel.plans import PlanView
from aegis_kernel.splits import SplitView


def lab_data() -> Path:
    """Where the host of a notebook keeps its data: `.aegis/<notebook>/lab` beside the notebook.

    Jupyter says which notebook it is. A console is none, and gets a directory in the working
    directory, named after its kernel, which a restart keeps.
    """
    path = Path(os.environ.get("JPY_SESSION_NAME", ""))
    if path.suffix in {".ipynb", ".py"}:
        return path.absolute().parent / ".aegis" / path.stem / "lab"
    from ipykernel.kernelapp import IPKernelApp

    name = "ipython"
    if IPKernelApp.initialized():
        name = Path(IPKernelApp.instance().connection_file).stem
    return Path.cwd() / ".aegis" / name / "lab"


def _named(host: Host) -> None:
    """Let views say which notebook the host is of; a console is none."""
    host.monitor.at(notebook=os.environ.get("JPY_SESSION_NAME", ""))


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
    kernel = getattr(shell, "kernel", None)
    if kernel is not None:
        Comms(kernel, notebook.thread).register()
    notebook.attach()
    notebook.start()
    # Closing needs executors, which are gone when atexit has its turn; concurrent.futures itself
    # registers with threading for this.
    getattr(threading, "_register_atexit", atexit.register)(notebook.thread.close)
    print(notebook.where())
    if notebook.thread.outputs is None:
        print("What components print shows here; a kernel shows it in the cell that set it off.")
    else:
        print(
            "In this kernel an `await` cannot be interrupted, and what the panel asks waits for "
            "the cell that runs; in the kernel named Aegis neither is so."
        )


def unload(shell: InteractiveShell) -> None:
    """Close the host of a session and take its names away."""
    magics = shell.magics_manager.registry.get(AegisMagics.__name__)
    if magics is not None:
        magics.notebook.detach()
        magics.notebook.thread.close()
        if magics.notebook.thread.comms is not None:
            magics.notebook.thread.comms.unregister()


class Notebook:
    """Joins an IPython shell and a host: `host`, the magics and the names of components."""

    def __init__(
        self, shell: InteractiveShell, thread: HostThread, *, rehearsal: bool = False
    ) -> None:
        self._rehearsal = rehearsal
        self.shell = shell
        self.thread = thread
        self.host = NotebookHost(thread)
        self.knowledge = about.Knowledge(thread)
        self._matcher = completion.matcher(self, arguments())
        self.gate: Gate | None = None  # what is deployed now has to pass it
        self.depends: set[Path] = set()  # the files that its components were read from
        self._bound: dict[str, tuple[str, weakref.ref[Any]]] = {}
        self._seen: weakref.ref[Registry] | None = None
        self._untold: list[str] = []
        self._given: dict[str, Any] | None = None  # None: whoever made the thread starts it

    # --- life -----------------------------------------------------------------------------------

    def attach(self) -> None:
        """Give the shell `host` and the magics."""
        if hasattr(self.shell, "set_thread_parent"):  # a kernel's: its outputs have parents
            self.thread.outputs = Outputs(self.shell)
        self.thread.blame(running_cell(self.shell))
        self.shell.register_magics(AegisMagics(self))
        self.shell.user_ns["host"] = self.host
        display.register(self.shell)
        self.shell.set_custom_exc((AegisError,), show_mistake)
        self.shell.events.register("pre_run_cell", self._before_cell)
        self.shell.Completer.custom_matchers.append(self._matcher)
        about.attach(self.shell, self.knowledge)

    def detach(self) -> None:
        """Take everything back that `attach` and the components gave."""
        self.shell.set_custom_exc((), None)
        self.shell.events.unregister("pre_run_cell", self._before_cell)
        self.shell.Completer.custom_matchers.remove(self._matcher)
        about.detach(self.shell)
        for magics in self.shell.magics_manager.magics.values():
            for name in ("component", "wat", "aegis_sql", "aegis"):
                magics.pop(name, None)
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
            self.thread.start(lab_config(**given), _named)
        except Exception as error:  # noqa: BLE001 -- see above
            self.thread.failure = error
            self.tell(self.where())

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
            self.thread.start(lab_config(**given), _named)
        except AegisError as error:
            if was_open:
                self.thread.start(lab_config(**before), _named)
                error.add_note("The host stays where it was; run the cells of components again.")
            raise
        self._given = given

    def move_to(self, thread: HostThread) -> None:
        """Use the host of `thread` from now on, with all that the cells already have of it."""
        self.thread = thread
        self.host.move_to(thread)
        self.bind()

    def where(self) -> str:
        """One line: where the host answers and keeps its data, or why there is none."""
        if not self.thread.is_open:
            return f"{self.host!r}. `%aegis data DIRECTORY` takes another directory"
        config = self.thread.config
        data = None if config is None else config.data
        kept = "nothing is kept on disk" if data is None else f"data in {data}"
        return f"the API is at {self.host.address}, {kept}"

    def tell(self, text: str) -> None:
        """Say something before the next cell: nobody hears it now."""
        self._untold.append(text)

    def _before_cell(self, _: ExecutionInfo) -> None:
        if self.thread.outputs is not None:
            self.thread.outputs.began()
        untold, self._untold = self._untold, []
        for text in untold:
            print(f"Aegis: {text}", file=sys.stderr)
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
        return next((f"cell {n}" for n, text in reversed(cells) if defines(text, name)), None)

    # --- deploying ------------------------------------------------------------------------------

    def whole(self, name: str, version: str, text: str, *, file: str = "") -> str:
        """The module that a text of WebAssembly stands for. Raises ComponentError."""
        try:
            return wat.whole(text, name, version)
        except ComponentError as error:
            before = self.thread.host.engine.registry.live.get(name)
            self.explain(error, before, Source.of(name, version, text, file=file))
            raise

    def assembled(self, name: str, version: str, text: str, *, origin: str, file: str) -> Source:
        """The source of a component in text of WebAssembly. Raises as `whole` does."""
        host = self.thread.host
        text = self.whole(name, version, text, file=file)
        try:
            binary = self.thread.call(host.loader.assemble, text, name)
        except ComponentError as error:
            before = host.engine.registry.live.get(name)
            self.explain(error, before, Source.of(name, version, text, file=file))
            raise
        return Source.of(name, version, text, origin=origin, file=file, binary=binary)

    def deploy(self, source: Source, *, grants: Sequence[str] = ()) -> Deployed:
        """Deploy `source` and tell what came of it. A ComponentError tells where it broke."""
        host = self.thread.host
        before, graph = host.engine.registry.live.get(source.name), self.thread.call(host.graph)
        try:
            deployment = self._through_gate(source, grants)
        except ComponentError as error:
            self.explain(error, before, source)
            raise
        return self._deployed(deployment, before, graph)

    def _through_gate(self, source: Source | str, grants: Sequence[str] = ()) -> Deployment:
        thread = self.thread
        try:
            made: Deployment = thread.call(
                plans.deploy, thread.host, source, gate=self.gate, grants=grants
            )
        except GateError as error:
            show(plans.refused(error))
            raise
        return made

    @contextmanager
    def gated(self, gate: Gate | None) -> Generator[None]:
        """Let what is deployed meanwhile pass a gate first."""
        self.gate = gate
        try:
            yield
        finally:
            self.gate = None

    def plan(self, source: Source | str) -> PlanView:
        """What deploying `source` would make different. A ComponentError tells as a deploy does."""
        host = self.thread.host
        try:
            return PlanView(self.thread.call(host.plan, source))
        except ComponentError as error:
            before = host.engine.registry.live.get(error.component)
            self.explain(error, before, source if isinstance(source, Source) else None)
            raise

    def plan_file(self, path: Path, name: str | None, version: str | None) -> PlanView:
        """As `plan`, of the component in a file."""
        return self.plan(self._read(path, name, version))

    def split(self, source: Source, weight: float) -> SplitView:
        """Try `source` beside what serves. A ComponentError tells where it broke."""
        host = self.thread.host
        try:
            return SplitView(self.thread.call(host.split, source, weight=weight))
        except ComponentError as error:
            self.explain(error, host.engine.registry.live.get(source.name), source)
            raise

    def promote(self, name: str) -> Deployed:
        """Let what is tried beside what serves serve all."""
        host = self.thread.host
        before, graph = host.engine.registry.live.get(name), self.thread.call(host.graph)
        return self._deployed(self.thread.call(host.promote, name), before, graph)

    def preview(self, source: Source) -> MigrationView:
        """What deploying `source` would make of stored records. A ComponentError tells as there."""
        host = self.thread.host
        try:
            found = self.thread.call(
                host.preview,
                source,
            )
        except ComponentError as error:
            self.explain(error, host.engine.registry.live.get(source.name), source)
            raise
        return MigrationView(found)

    def deploy_address(self, address: str) -> Deployed:
        """Deploy the component at an address. Raises as `host.deploy` does."""
        host = self.thread.host
        path = Path(address.partition("#")[0]).expanduser()
        if path.exists():
            self.depends.add(path.absolute())
        before, graph = dict(host.engine.registry.live), self.thread.call(host.graph)
        try:
            deployment = self._through_gate(address)
        except ComponentError as error:
            self.explain(error, before.get(error.component))
            raise
        return self._deployed(deployment, before.get(deployment.component), graph)

    def deploy_file(self, path: Path, name: str | None, version: str | None) -> Deployed:
        """Deploy the component in a file. What is wrong with the file itself is a UsageError."""
        return self.deploy(self._read(path, name, version))

    def _read(self, path: Path, name: str | None, version: str | None) -> Source:
        reading = read_component(path.expanduser(), name, version, loader=self.thread.host.loader)
        self.depends |= reading.paths
        if reading.error is not None:
            if reading.error.__cause__ is None:
                hint = f" ({reading.error.hint})" if reading.error.hint else ""
                raise UsageError(f"{reading.error.problems[0]}{hint}")
            self.explain(reading.error)
        return reading.result()

    def watch(self, path: str, name: str | None, version: str | None) -> Any:
        """Follow a component file or a folder of them; without a path, what is followed.

        `aegis-serve` deploys them once: its own `--watch` follows all that the notebook uses.
        """
        if self._given is None:
            return self._deploy_all(Path(path).expanduser(), name, version) if path else None
        # What it needs takes time to import, and few sessions do.
        from aegis_kernel.following import FollowedView

        thread = self.thread
        if not path:
            return FollowedView(thread.call(lambda: thread.watcher().followed()))
        view = FollowedView(nothing=f"no component file is in {path} yet")

        async def begin() -> None:
            await thread.watcher().watch(Path(path), name, version, tell=view.tell)

        thread.call(begin)
        self.bind()
        view.show(self.shell)
        return None

    def _deploy_all(self, path: Path, name: str | None, version: str | None) -> None:
        self.depends.add(path.absolute())
        for file in component_files(path) if path.is_dir() else [path]:
            print(self.deploy_file(file, name, version))

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
            for name, line in missing(after)
        ]
        changes = changes_of(before, after, graph, self.thread.call(host.graph))
        if deployment.migrated is not None and before is not after:
            changes = (migrated(deployment.migrated), *changes)
        return Deployed(
            view=DeploymentView(deployment, after, "" if self._rehearsal else self.host.address),
            changes=changes,
            notes=tuple(notes),
        )

    def _elsewhere(self, name: str) -> str:
        definer = self.definer(name)
        if definer is None:
            return "define or import it there"
        return f"{definer} defines it, and a component sees only what it defines or imports itself"

    def explain(
        self, error: ComponentError, before: Revision | None = None, source: Source | None = None
    ) -> None:
        """Let the error show the component's own lines, those of `source`, and what serves now."""
        cause = error.__cause__
        lines: list[str] = []
        if cause is None and source is not None and error.fields.get("line"):
            wrong = place_in(source, error)
            lines = self.shell.SyntaxTB.structured_traceback(SyntaxError, wrong, None)
        elif cause is not None:
            filename = remember(error, cause)
            if isinstance(cause, SyntaxError):
                lines = self.shell.SyntaxTB.structured_traceback(type(cause), cause, None)
            else:
                own = own_steps(cause.__traceback__, filename)
                lines = self.shell.InteractiveTB.structured_traceback(type(cause), cause, own)
            if isinstance(cause, NameError) and cause.name is not None:
                error.add_note(f"{cause.name}: {self._elsewhere(cause.name)}")
        if before is not None:
            error.add_note(f"{before.name} {before.version} ({before.digest[:8]}) still serves.")
        show_as(error, [*lines, ""] if lines else [])

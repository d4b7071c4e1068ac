"""What people type: `%%component`, `%%wat`, `%%aegis_sql`, and `%aegis` with its words."""

from __future__ import annotations

import inspect
import linecache
import shlex
from collections.abc import Callable, Container, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, get_args

from IPython.core.error import StdinNotImplementedError, UsageError
from IPython.core.magic import Magics, cell_magic, line_magic, magics_class

from aegis.adapters.components.files import read_imports
from aegis.adapters.sources.notebook import is_component_file
from aegis.core.component import Source
from aegis.core.errors import AegisError, closest
from aegis.core.flow import FlowState
from aegis.core.grant import HOST, AccessStatus
from aegis.core.manifest import NAME, VERSION
from aegis.core.rehearsal import Gate
from aegis.engine.failures import GROUP, Told
from aegis.engine.intake import OnConflict
from aegis_kernel import failures, past, sql, traps
from aegis_kernel.about import About
from aegis_kernel.audit import AuditTable
from aegis_kernel.cells import cell_label
from aegis_kernel.deployed import Deployed
from aegis_kernel.failures import FailedGroups, FailedList
from aegis_kernel.fetched import FetchedView
from aegis_kernel.hosting import NotebookHost
from aegis_kernel.migration import MigrationView
from aegis_kernel.mistakes import show_as
from aegis_kernel.plans import PlanView, gate_of
from aegis_kernel.splits import SplitView
from aegis_kernel.traps import TrapList
from aegis_kernel.versions import FollowingView, VersionsView

if TYPE_CHECKING:
    from aegis_kernel.notebook import Notebook

CELLS = (
    f"{'%%component NAME VERSION':<40}make this cell a component and deploy it",
    f"{'%%component --preview NAME VERSION':<40}show what that would make of stored records",
    f"{'%%component --split=10 NAME VERSION':<40}try it beside what serves, on 10 % of the records",
    f"{'%%component --plan NAME VERSION':<40}show what that would make different",
    f"{'%%component --grant=clock NAME VERSION':<40}give it, with that, what it asks for",
    f"{'%%wat NAME VERSION':<40}the same for a cell in WebAssembly text; %%wat? tells how",
    f"{'%%aegis_sql [NAME]':<40}ask this cell's SELECT; NAME gets the answer",
)


@magics_class
class AegisMagics(Magics):
    """`%%component`, `%%wat`, `%%aegis_sql` and `%aegis`."""

    def __init__(self, notebook: Notebook) -> None:
        super().__init__(notebook.shell)
        self.notebook = notebook

    @cell_magic
    def component(
        self, line: str, cell: str
    ) -> Deployed | MigrationView | PlanView | SplitView | None:
        """Make this cell a component and deploy it:  %%component NAME VERSION

        The cell has a namespace of its own: it sees what it imports and defines, not other
        cells' names. Running it again replaces what serves; if it is broken, what served before
        goes on. Afterwards its classes and functions can be used in the other cells.

        With `--preview` nothing is deployed: the model's `migrate` is tried on a copy of the stored
        records, and the cell shows what becomes of them. With `--plan` it shows what would be
        different, and whom that breaks. With `--gate` (or `--gate=200`) the last recorded flows and
        requests are tried on it before it may serve. With `--split=10` the cell is a candidate that
        gets 10 percent of the records, beside what serves. With `--grant=orders.Order:read` (one or
        more, with commas) it is given what it asks for.
        """
        # The magic's own line is line 1, as the cell shows it.
        return self._cell("component", line, "\n" + cell)

    @cell_magic
    def wat(self, line: str, cell: str) -> Deployed | MigrationView | PlanView | SplitView | None:
        """Make this cell, text of WebAssembly, a component and deploy it:  %%wat NAME VERSION

        It runs in a sandbox, within limits, and may do what `--grant=clock` gives it (`clock`,
        `random`, `keys`, `http=https://api.example.org`). All else is as with `%%component`.

        A cell that begins with `(module` is the whole module, with the exports of the contract.
        Otherwise comments on top (`;;`) describe the component, in TOML, and the cell has a
        function for each thing that the host calls: it takes its input and gives its answer as a
        text, which is an i64, its address above its length.

            ;; [models.Parcel]
            ;; endpoint = "parcels"
            ;; fields.grams = {type = "integer"}
            ;; fields.price = {type = "integer", default = 0}
            ;; ports.weigh = {consumes = ["parcel.created"], produces = "parcel.weighed"}
            ;; [texts]
            ;; grams = "grams"
            ;; priced = '{"record": {"price": '
            ;; end = "}}"
            (func $Parcel.weigh (param $input i64) (result i64)
              (call $join (global.get $priced)
                (call $join (call $digits (call $number (local.get $input) (global.get $grams)))
                  (global.get $end))))

        What such a cell lacks is added: memory, `$alloc`, the exports that call its functions by
        name, a global for each of its `texts`, and of these what it calls: `$number JSON KEY` and
        `$string JSON KEY` (what stands behind a key), `$digits NUMBER`, `$join A B`, `$equals A B`,
        `$failed TEXT` (an answer that is an error), `$at TEXT`, `$length TEXT`, `$text AT LENGTH`.
        `%%wat --text NAME VERSION` shows the whole module, and does nothing else.
        """
        return self._cell("wat", line, "\n" + cell)

    def _cell(
        self, magic: str, line: str, text: str
    ) -> Deployed | MigrationView | PlanView | SplitView | None:
        """Do with a cell what the line of its magic says."""
        gate, words = _gated(line.split())
        said = [word for word in words if word.startswith("--")]
        words = [word for word in words if not word.startswith("--")]
        previewed = "--preview" in said
        weights = [word.removeprefix("--split=") for word in said if word.startswith("--split=")]
        grants = [word.removeprefix("--grant=") for word in said if word.startswith("--grant=")]
        plain = {"--preview", "--plan", *(("--text",) if magic == "wat" else ())}
        for word in said:
            if word not in plain and not word.startswith(("--split=", "--grant=")):
                raise UsageError(
                    f"%%{magic} takes --plan, --preview, --gate=COUNT, --split=PERCENT and "
                    f"--grant=WHAT, not {word!r}"
                )
        if grants and (weights or previewed or "--plan" in said):
            raise UsageError("--grant gives with a deploy, and this is none")
        if len(words) != 2:
            raise UsageError(f"a component has a name and a version: %%{magic} orders 1.2.0")
        name, version = words
        _check(name, version)
        if "--text" in said:
            print(self.notebook.whole(name, version, text, file=self._file()))
            return None
        try:
            source = self._source(name, version, text, is_wat=magic == "wat")
            if weights:
                return self.notebook.split(source, _percent(weights[-1]))
            if "--plan" in said:
                return self.notebook.plan(source)
            with self.notebook.gated(gate):
                if previewed:
                    return self.notebook.preview(source)
                return self.notebook.deploy(source, grants=_granted(grants))
        except AegisError as error:
            if "_render_traceback_" not in vars(error):
                show_as(error)
            raise

    def _source(self, name: str, version: str, text: str, *, is_wat: bool) -> Source:
        """The source that a cell is. Raises ComponentError for text of WebAssembly that is none."""
        origin, file = cell_label(self.notebook.shell), self._file()
        if file:  # IPython keeps the call of this magic there
            linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
        if is_wat:
            return self.notebook.assembled(name, version, text, origin=origin, file=file)
        imports, paths = read_imports(text, Path.cwd())
        self.notebook.depends |= paths
        return Source.of(name, version, text, origin=origin, imports=imports, file=file)

    def _file(self) -> str:
        """What IPython, and with it a debugger, calls the cell that runs; it tells its text."""
        frame = inspect.currentframe()
        while frame is not None and frame.f_globals is not self.notebook.shell.user_global_ns:
            frame = frame.f_back
        return "" if frame is None else frame.f_code.co_filename

    @cell_magic
    def aegis_sql(self, line: str, cell: str) -> sql.SqlTable:
        """Ask in SQL, over models, journal and flows:  %%aegis_sql [NAME]

        The cell is one SELECT, NAME gets its answer. A model is a table by its endpoint (`orders`);
        `events`, `flows` and `steps` are the others. `$total` stands for the variable `total`.
        """
        try:
            return sql.ask(self.notebook, line.strip(), cell)
        except AegisError as error:
            show_as(error)
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
        verb, gate = WORDS[word], None
        if word == "deploy":
            gate, rest = _gated(rest)
        rest.sort(key=lambda argument: argument.startswith("--"))
        try:
            inspect.signature(verb).bind(self, *rest)
        except TypeError:
            usage = " ".join(_usage(word).split())
            raise UsageError(f"write it as:  {usage}") from None
        try:
            with self.notebook.gated(gate):
                return verb(self, *rest)
        except AegisError as error:
            if "_render_traceback_" not in vars(error):
                show_as(error)
            raise

    def do_status(self) -> NotebookHost:
        """-- what serves, what waits, what is wrong"""
        return self.notebook.host

    def do_deploy(self, address: str, name: str = "", version: str = "") -> Deployed:
        """ADDRESS [NAME VERSION] [--gate] -- deploy a .py file, github:OWNER/REPO@^1.2, ..."""
        if name:
            _check(name, version)
        if name or is_component_file(address):
            return self.notebook.deploy_file(Path(address), name or None, version or None)
        return self.notebook.deploy_address(address)

    def do_fetch(self, address: str) -> FetchedView:
        """ADDRESS -- show what components are there; nothing of them runs"""
        thread = self.notebook.thread
        return FetchedView(thread.call(thread.host.fetch, address))

    def do_plan(self, address: str, name: str = "", version: str = "") -> PlanView:
        """ADDRESS [NAME VERSION] -- show what deploying that would make different"""
        if name:
            _check(name, version)
        if name or is_component_file(address):
            return self.notebook.plan_file(Path(address), name or None, version or None)
        return self.notebook.plan(address)

    def do_watch(self, path: str = "", name: str = "", version: str = "") -> Any:
        """[PATH [NAME VERSION]] -- deploy a component file, or a folder's, now and at every save"""
        if name:
            _check(name, version)
        return self.notebook.watch(path, name or None, version or None)

    def do_unwatch(self, path: str) -> None:
        """PATH -- follow a file or folder no more; what it served goes on serving"""
        thread = self.notebook.thread
        for file in thread.call(lambda: thread.watcher().unwatch(Path(path))):
            print(f"{file.name} is followed no more; what it deployed serves on.")

    def do_undo(self, flow: str, skip: str = "") -> None:
        """FLOW [--skip] -- undo an open flow; go on with an undo that stopped, or skip its step"""
        if skip not in {"", "--skip"}:
            raise UsageError(f"%aegis undo takes --skip, not {skip!r}")
        thread = self.notebook.thread
        found = thread.call(thread.host.flow, flow)
        stopped = found is not None and found[0].state is FlowState.COMPENSATION_FAILED
        if skip:
            thread.call(thread.host.skip_undo, flow)
        else:
            thread.call(thread.host.continue_undo if stopped else thread.host.undo, flow)
        print("Its undo goes on." if stopped else "It is being undone.")

    def do_rollback(self, name: str) -> Deployed:
        """NAME -- serve the revision before this one again"""
        return self.notebook.rollback(name)

    def do_grant(self, name: str, *grants: str) -> None:
        """NAME [GRANT ...] -- let a component reach orders.Order:read, orders:order.*; or tell"""
        thread = self.notebook.thread
        if grants:
            _tell_access([thread.call(thread.host.grant, name, *grants)], self._live())
        else:
            _tell_access(thread.call(thread.host.access, name), self._live())

    def do_revoke(self, name: str, *grants: str) -> None:
        """NAME GRANT ... -- take from a component what it may reach, from its next call on"""
        thread = self.notebook.thread
        _tell_access([thread.call(thread.host.revoke, name, *grants)], self._live())

    def _live(self) -> Container[str]:
        return self.notebook.thread.host.engine.registry.live

    def do_versions(self, name: str) -> VersionsView:
        """NAME -- what serves, what did, and what its source offers"""
        thread = self.notebook.thread
        return VersionsView(thread.call(thread.host.versions, name))

    def do_follow(self, name: str = "", address: str = "") -> FollowingView:
        """[NAME [ADDRESS]] -- let newer versions deploy by themselves; without a name, what does"""
        thread = self.notebook.thread
        if not name:
            return FollowingView(thread.call(thread.host.followed))
        view = FollowingView([thread.call(thread.host.follow, name, address or None)])
        self.notebook.bind()
        return view

    def do_unfollow(self, name: str) -> None:
        """NAME -- let no version come by itself any more; what serves goes on"""
        thread = self.notebook.thread
        thread.call(thread.host.unfollow, name)
        print(f"{name} is followed no more; what serves goes on.")

    def do_lock(self, name: str = "", upgrade: str = "") -> None:
        """[NAME] [--upgrade] -- write the versions of [components] for the next start"""
        if name == "--upgrade":
            name, upgrade = "", name
        if upgrade not in {"", "--upgrade"} or (name and not upgrade):
            raise UsageError("%aegis lock takes --upgrade, and with it a name")
        thread = self.notebook.thread
        named = [name] if name else None
        lock = thread.call(thread.host.lock, named if upgrade else ())
        for each, locked in sorted(lock.items()):
            print(f"{each} {locked.version} from {locked.source}")
        if not lock:
            print("[components] of aegis.toml wants nothing from elsewhere.")

    def do_split(self, name: str = "", percent: str = "") -> SplitView:
        """[NAME PERCENT] -- what is tried beside what is live; give it another share"""
        thread = self.notebook.thread
        if name:
            thread.call(thread.host.split, name, weight=_percent(percent))
        return SplitView(thread.call(thread.host.splits))

    def do_promote(self, name: str) -> Deployed:
        """NAME -- what is tried beside what is live serves all from now on"""
        return self.notebook.promote(name)

    def do_drop(self, name: str) -> None:
        """NAME -- what is tried is tried no more; what is live serves all again"""
        thread = self.notebook.thread
        thread.call(thread.host.drop, name)
        print(f"{name} is served by {thread.host.engine.registry.live[name].version} alone.")

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

    def do_rotate_keys(self) -> None:
        """-- seal private and encrypted fields with a new key, and all stored records anew"""
        thread = self.notebook.thread
        made = thread.call(thread.host.rotate_keys)
        number = f"{made.records} record{'' if made.records == 1 else 's'}"
        print(f"{number} sealed anew with the key {made.key}; older keys stay for the journal.")

    def do_resume(self) -> None:
        """-- load the code that open flows wait for, and go on with them"""
        thread = self.notebook.thread
        labels = thread.call(thread.host.resume)
        self.notebook.bind()
        print(f"Resumed: {', '.join(labels)}" if labels else "No flow waits for code.")

    def do_why(self, id: str, model: str = "") -> Any:
        """ID [MODEL] -- what led to an event, flow or record, and what it led to"""
        thread = self.notebook.thread
        return thread.call(past.why, thread.host, id, model or None)

    def do_replay(self, id: str, file: str = "") -> Any:
        """ID [FILE] -- run a flow again with recorded answers, on the live code or a file's"""
        thread = self.notebook.thread
        try:
            text = Path(file).expanduser().read_text(encoding="utf-8") if file else None
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{file} cannot be read: {error}") from None
        return thread.call(past.replay, thread.host, id, text)

    def do_failed(self, group: str = "") -> FailedList | FailedGroups:
        """[--group] -- what failed and can be tried again; with --group by its error"""
        if group not in {"", "--group"}:
            raise UsageError(f"%aegis failed takes --group, not {group!r}")
        thread = self.notebook.thread
        if group:
            return FailedGroups(thread.call(thread.host.failed_groups))
        return thread.call(failures.failed, thread.host)

    def do_traps(self, name: str = "") -> TrapList:
        """[NAME] -- the last calls of WebAssembly that were stopped; host.replay makes one again"""
        thread = self.notebook.thread
        return thread.call(traps.traps, thread.host, name or None)

    def do_audit(self, action: str = "") -> AuditTable:
        """[ACTION] -- who deployed, pinned or granted what, and what was refused"""
        thread = self.notebook.thread
        return AuditTable(thread.call(thread.host.audit, action=action or None))

    def do_retry(self, failure: str) -> None:
        """FAILURE -- try again what failed, by its id, or a whole group"""
        thread = self.notebook.thread
        if failure.startswith(f"{GROUP}:"):
            _tell(thread.call(thread.host.retry_all, failure))
        else:
            print(thread.call(thread.host.retry, failure))
        self.notebook.bind()  # what a flow waited for may have been loaded

    def do_discard(self, failure: str) -> None:
        """FAILURE -- take what failed off the list for good, by its id, or a whole group"""
        thread = self.notebook.thread
        if failure.startswith(f"{GROUP}:"):
            _tell(thread.call(thread.host.discard_all, failure))
        else:
            print(thread.call(thread.host.discard, failure))

    def do_data(self, directory: str) -> NotebookHost:
        """DIRECTORY -- go on with another data directory; the host starts anew"""
        self.notebook.move(directory)
        return self.notebook.host

    def do_export(self, file: str, model: str = "") -> None:
        """FILE [MODEL] -- write all records, or those of a model, to a new file"""
        thread = self.notebook.thread
        made = thread.call(thread.host.export, _path(file), *([model] if model else []))
        print(f"{made.total:,} records as of event {made.seq:,} are in {file}.")

    def do_import(self, file: str, conflict: str = "fail") -> None:
        """FILE [fail|skip|replace] -- take the records of an export in; no flow is set off"""
        if conflict not in get_args(OnConflict):
            raise UsageError(f"%aegis import takes fail, skip or replace, not {conflict!r}")
        thread = self.notebook.thread
        done = thread.call(
            thread.host.import_, _path(file), on_conflict=cast("OnConflict", conflict)
        )
        print(
            f"{done.created:,} created, {done.replaced:,} replaced, {done.skipped:,} skipped, "
            f"{done.known:,} known already."
        )

    def do_backup(self, directory: str) -> None:
        """DIRECTORY -- copy all data to a new directory; `aegis data restore` reads it"""
        thread = self.notebook.thread
        made = thread.call(thread.host.backup, _path(directory))
        print(f"{made.total:,} bytes as of event {made.seq:,} are in {directory}.")

    def do_about(self, thing: str) -> About:
        """THING -- what the host knows of a component, model, port, part or event"""
        return self.notebook.knowledge.named(thing)

    def do_debug(self, switch: str) -> None:
        """on|off -- let breakpoints in components stop; the API stops with them"""
        if switch not in {"on", "off"}:
            raise UsageError(f"%aegis debug is on or off, not {switch!r}")
        self.notebook.thread.let_debug(switch == "on")
        print(f"Breakpoints in components {'stop' if switch == 'on' else 'are passed by'}.")

    def do_help(self) -> None:
        """-- these lines"""
        print(*CELLS, *map(_usage, WORDS), sep="\n")


# Each `do_` method is a word of `%aegis`; its docstring is `ARGUMENTS -- what it does`.
WORDS: dict[str, Callable[..., Any]] = {
    name.removeprefix("do_").replace("_", "-"): verb
    for name, verb in vars(AegisMagics).items()
    if name.startswith("do_")
}


def arguments() -> dict[str, str]:
    """What each word of `%aegis` takes, as its usage says it."""
    return {word: (verb.__doc__ or "").partition("-- ")[0].strip() for word, verb in WORDS.items()}


def _gated(words: list[str]) -> tuple[Gate | None, list[str]]:
    """The gate that `--gate` says, and the words without it."""
    try:
        return gate_of(words)
    except (ValueError, AegisError) as error:
        raise UsageError(f"--gate takes how many are tried: {error}") from None


def _path(text: str) -> str:
    """A path as somebody typed it."""
    return str(Path(text).expanduser())


def _tell(told: Sequence[Told]) -> None:
    """Say what came of each failure of a group."""
    for one in told:
        print(f"{one.id}: {one.text}")
    left = sum(one.failed for one in told)
    print(f"{len(told)} dealt with, {left} of them still failed.")


def _granted(said: Sequence[str]) -> list[str]:
    """Grants as somebody typed them; what has no owner is the host's: `clock` is `host.clock`."""
    grants = [one for each in said for one in each.split(",") if one]
    return [one if set(".:") & set(one.partition("=")[0]) else f"{HOST}.{one}" for one in grants]


def _percent(text: str) -> float:
    """A share as somebody typed it."""
    try:
        return float(text.removesuffix("%"))
    except ValueError:
        raise UsageError(f"{text!r} is no share: say how many percent, as 10") from None


def _tell_access(found: Sequence[AccessStatus], live: Container[str]) -> None:
    """Say what components export, ask for and may reach; the first two of those that are live."""
    for one in found:
        for what, texts in (("exports", one.exports), ("asks for", one.asked)):
            if one.component not in live:
                continue
            said = "everything" if texts is None else ", ".join(texts) or "nothing"
            print(f"{one.component} {what} {said}.")
        print(f"{one.component} was granted {', '.join(one.granted) or 'nothing'}.")


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

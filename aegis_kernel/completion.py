"""Completes what Python's own completion cannot know: words of `%aegis`, names inside strings."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from IPython.core.completer import CompletionContext, SimpleCompletion, context_matcher

from aegis.adapters.analyst.columns import OWN, names_of, plain
from aegis.core.address import FORGES
from aegis.core.audit import Action
from aegis.core.component import ModelSpec, Revision
from aegis.core.errors import NotFoundError
from aegis.core.grant import Party
from aegis.core.manifest import WASM
from aegis.core.model import Model
from aegis.core.policy import KEYS, TABLE
from aegis.core.registry import Registry
from aegis_kernel.about import known_events
from aegis_kernel.hosting import AioHost, NotebookHost

if TYPE_CHECKING:
    from aegis_kernel.notebook import Notebook

OPTIONS = 200  # more would help nobody choose

Option = tuple[str, str]  # what completes, and what a frontend calls such a thing

# Verbs of the host by what their first argument is.
OF_MODELS = {"count", "create", "get", "list", "query", "spec"}
ASKING = {"count", "list", "query"}
OF_RECORDS = {"update", "run", "call", "related"}
OF_COMPONENTS = {
    *("deploy", "drop", "follow", "lock", "promote", "reset", "rollback", "split", "undeploy"),
    *("unfollow", "versions", "grant", "revoke", "access", "traps"),
}
_QUOTES = ('"""', "'''", '"', "'")
_OPEN, _CLOSE = "([{", ")]}"
_CALLEE = re.compile(r"([A-Za-z_]\w*(?:\.\w+)*)\s*$")
_SQL_WORD = re.compile(r'[\w."]+$')
_KEYWORD = re.compile(r"^\s*(\w+)\s*=(?!=)")


class Place(NamedTuple):
    """Where the cursor is in a call: who is called, the arguments so far, and what is typed.

    `string` is the text of the string that is open, None outside one; `key` says that it is a key
    of a dict that is an argument.
    """

    callee: str
    arguments: tuple[str, ...]
    typed: str
    string: str | None
    key: bool


def matcher(notebook: Notebook, words: Mapping[str, str]) -> Callable[[CompletionContext], Any]:
    """A matcher of IPython for a notebook; `words` are those of `%aegis`, with their arguments."""

    @context_matcher(identifier="aegis")  # type: ignore[untyped-decorator]
    def complete(context: CompletionContext) -> dict[str, Any]:
        try:
            typed, options = _Completions(notebook, words).of(context)
            known = dict.fromkeys(options or ())
        except Exception:  # noqa: BLE001 -- whatever is wrong, Python's own completion goes on
            typed, options, known = "", None, {}
        found = [
            SimpleCompletion(text=text, type=kind)
            for text, kind in known
            if text.startswith(typed) and text != typed
        ][:OPTIONS]
        # Keywords come beside what Python knows; in these strings and magics it knows nothing.
        alone = options is not None and all(option.type != "param" for option in found)
        return {"completions": found, "matched_fragment": typed, "suppress": alone}

    return complete  # type: ignore[no-any-return]


class _Completions:
    """The options at one place."""

    def __init__(self, notebook: Notebook, words: Mapping[str, str]) -> None:
        self._notebook = notebook
        self._words = words

    @property
    def _registry(self) -> Registry:
        return self._notebook.thread.host.engine.registry

    def of(self, context: CompletionContext) -> tuple[str, Iterable[Option] | None]:
        """What is typed so far, and what it can become."""
        above = context.full_text.split("\n")[: context.cursor_line]
        text = "\n".join([*above, context.line_with_cursor[: context.cursor_position]])
        line = text.rpartition("\n")[2].lstrip()
        if line.startswith(("%%component ", "%%wat ")) and "\n" not in text.lstrip():
            magic, *words = line.split(" ")
            return self._component(magic, words)
        if text.lstrip().startswith("%%aegis_sql") and "\n" in text.lstrip():
            return self._sql(text)
        if line.startswith("%aegis "):
            return self._magic(line.split(" ")[1:])
        place = place_of(text)
        if place is None:
            return "", None
        verb = self._verb(place.callee)
        if verb is None:
            return "", None
        if place.string is not None and verb == "sql":
            return self._sql(place.string)
        if place.string is not None:
            return place.string, self._strings(verb, place)
        if re.fullmatch(r"\s*\w*", place.typed):
            keywords = list(self._keywords(verb, place))
            return place.typed.strip(), keywords or None
        return "", None

    # --- magics ---------------------------------------------------------------------------------

    def _component(self, magic: str, words: list[str]) -> tuple[str, Iterable[Option] | None]:
        live = self._registry.live
        if words[0].startswith("--") and len(words) == 1:
            options = ["--plan", "--preview", "--gate", "--split=10", "--grant="]
            options += ["--text"] if magic == "%%wat" else []
            return words[0], [(option, "keyword") for option in options]
        words = [word for word in words if not word.startswith("--")]
        if len(words) == 1:
            return words[0], [(name, "module") for name in live]
        if len(words) == 2 and words[0] in live:
            return words[1], _versions(live[words[0]].version)
        return "", None

    def _magic(self, words: list[str]) -> tuple[str, Iterable[Option] | None]:
        typed = words[-1]
        if len(words) == 1:
            return typed, [(word, "magic") for word in self._words]
        usage = self._words.get(words[0])
        if usage is None:
            return "", None
        wanted = usage.replace("[", "").replace("]", "").split()
        flags = [(word, "keyword") for word in wanted if word.startswith("--")]
        slots = [word for word in wanted if not word.startswith("--")]
        given = [word for word in words[1:-1] if word and not word.startswith("--")]
        if typed.startswith("-") or len(given) >= len(slots):
            return typed, flags
        return typed, self._argument(slots[len(given)], typed, given)

    def _argument(self, slot: str, typed: str, given: list[str]) -> Iterable[Option]:
        if slot in {"FILE", "PATH", "DIRECTORY"}:
            return _paths(typed, files=slot != "DIRECTORY")
        if slot == "ADDRESS":
            return [*_paths(typed, files=True), *self._schemes()]
        if "|" in slot:
            return [(word, "keyword") for word in slot.split("|")]
        if slot == "ACTION":
            return [(action.value, "keyword") for action in Action]
        if slot == "FAILURE":
            return self._failures()
        if slot == "THING":
            return [(name, "text") for name in self._notebook.knowledge.names()]
        live = self._registry.live
        if slot == "NAME":
            return [(name, "module") for name in live]
        if slot == "VERSION" and given[-1] in live:
            return _versions(live[given[-1]].version)
        return ()

    def _schemes(self) -> Iterator[Option]:
        """How addresses may begin here: names of servers, and cells."""
        config = self._notebook.thread.config
        names = FORGES if config is None else config.sources
        yield from ((f"{name}:", "text") for name in names)
        yield from ((f"cell:{name}", "module") for name in self._registry.live)

    def _failures(self) -> list[Option]:
        thread = self._notebook.thread
        return [(failed.id, "text") for failed in thread.call(thread.host.failed)[-OPTIONS:]]

    # --- SQL ------------------------------------------------------------------------------------

    def _sql(self, text: str) -> tuple[str, Iterable[Option]]:
        """Tables, and the fields of models."""
        registry = self._registry
        names = [plain(name) for ours in names_of(registry).values() for name in ours]
        fields = dict.fromkeys(f for spec in registry.models.values() for f in spec.fields)
        found = _SQL_WORD.search(text)
        return "" if found is None else found[0], [
            *((name, "class") for name in (*names, *OWN)),
            *((field, "property") for field in fields),
        ]

    # --- calls ----------------------------------------------------------------------------------

    def _verb(self, callee: str) -> str | None:
        """The verb that a call asks of a host; None when it is no host's."""
        name, *attributes = callee.split(".")
        held = self._notebook.shell.user_ns.get(name)
        if isinstance(held, NotebookHost) and len(attributes) == 2 and attributes[0] == "aio":
            return attributes[1]
        if isinstance(held, NotebookHost | AioHost) and len(attributes) == 1:
            return attributes[0]
        return None

    def _strings(self, verb: str, place: Place) -> Iterable[Option] | None:
        at = len(place.arguments)
        keyword = _KEYWORD.match(place.typed)
        if keyword is not None:
            if verb in ASKING and keyword[1] == "sort":
                sign = "-" if (place.string or "").startswith("-") else ""
                return [
                    (sign + name, "property")
                    for spec in self._specs(place)
                    for name, column in spec.columns.known.items()
                    if column.shape == "one" and not column.sealed
                ]
            return None
        if verb == "configure":
            return [(key, "property") for key in self._settings()] if place.key else None
        if at == 0:
            return self._first(verb)
        if at == 1 and verb == "run":
            return [(n, "method") for spec in self._specs(place) for n in spec.ports]
        if at == 1 and verb == "call":
            return [(n, "method") for spec in self._specs(place) for n in spec.commands]
        if at == 1 and verb == "related":
            return [(n, "property") for spec in self._specs(place) for n in spec.relations]
        if at > 0 and verb in {"grant", "revoke"}:
            return [(text, "text") for text in self._things(place.arguments[0])]
        if at == 1 and verb == "bind":
            return [(part, "class") for part in self._parts(place.arguments[0])]
        if at == 1 and verb == "deploy":
            revision = self._registry.live.get(_unquoted(place.arguments[0]) or "")
            return [] if revision is None else _versions(revision.version)
        return None

    def _things(self, component: str) -> Iterator[str]:
        """What may be granted to a component: what others export, what it asks for and needs."""
        name = _unquoted(component) or ""
        for revision in self._registry.live.values():
            if revision.name == name:
                yield from map(str, (*(revision.asks or ()), *revision.needs))
            elif revision.exports is not None:
                yield from map(str, Party(exports=revision.exports).exporting(revision.name))
            else:
                yield from (spec.key for spec in revision.models)

    def _first(self, verb: str) -> Iterable[Option] | None:
        registry = self._registry
        if verb in OF_MODELS:
            names = [spec.name for spec in registry.models.values()]
            short = [(name, "class") for name in names if names.count(name) == 1]
            return [*short, *((key, "class") for key in registry.models)]
        if verb in OF_COMPONENTS:
            return [(name, "module") for name in registry.live]
        if verb in {"retry", "discard", "input"}:
            return self._failures()
        if verb in {"events", "expect", "subscribe"}:
            return [(name, "text") for name in sorted(known_events(registry))]
        if verb == "bind":
            return [(slot, "property") for slot in self._slots()]
        return None

    def _keywords(self, verb: str, place: Place) -> Iterator[Option]:
        if not place.arguments:
            return
        for spec in self._specs(place, certain=True):
            names: Iterable[str] = ()
            if verb in ASKING:
                names = (name.replace(".", "__") for name in spec.columns.known)
            elif verb in {"create", "update"}:
                names = spec.create.__struct_fields__
            elif verb in {"run", "call"} and len(place.arguments) > 1:
                member = _unquoted(place.arguments[1]) or ""
                found = spec.ports.get(member) if verb == "run" else spec.commands.get(member)
                taken = None if found is None else found.call.arguments
                names = () if taken is None else (f.name for f in msgspec.structs.fields(taken))
            given = {m[1] for m in map(_KEYWORD.match, place.arguments) if m is not None}
            yield from ((f"{name}=", "param") for name in names if name not in given)

    def _specs(self, place: Place, *, certain: bool = False) -> Iterable[ModelSpec]:
        """The model that the first argument means; all of them where only running would tell."""
        first = place.arguments[0].strip()
        said: Any = _unquoted(first)
        if said is None and first.isidentifier():
            said = self._notebook.shell.user_ns.get(first)
        if isinstance(said, str | type | Model):
            try:
                return [self._notebook.thread.host.spec(said)]
            except NotFoundError:
                return ()
        return () if certain else self._registry.models.values()

    def _settings(self) -> Iterator[str]:
        yield from (f"{TABLE}.{key}" for key in KEYS)
        for revision in self._registry.live.values():
            for part in revision.parts:
                yield from (setting.key for setting in part.settings)

    def _slots(self) -> Iterator[str]:
        for revision in self._registry.live.values():
            for part in revision.parts:
                yield from (f"{revision.name}.{p.__name__}" for p in part.protocols)

    def _parts(self, slot: str) -> Iterator[str]:
        component, _, protocol = (_unquoted(slot) or "").partition(".")
        revision: Revision | None = self._registry.live.get(component)
        for part in () if revision is None else revision.parts:
            if any(p.__name__ == protocol for p in part.protocols):
                yield part.name


# --- reading what is typed ----------------------------------------------------------------------


def place_of(text: str) -> Place | None:
    """Where the end of `text` is, in the innermost call that is open there; None outside one."""
    # Of each open bracket: the sign, what is called, where its argument begins, those before.
    open_: list[tuple[str, str, int, list[str]]] = []
    at, end = 0, len(text)
    string: int | None = None
    while at < end:
        sign = text[at]
        if sign == "#":
            at = text.find("\n", at)
            if at < 0:
                return None
        elif sign in "\"'":
            quote = next(q for q in _QUOTES if text.startswith(q, at))
            begun, at = at + len(quote), _string_end(text, at + len(quote), quote)
            if at < 0:
                string = begun
                break
            continue
        elif sign in _OPEN:
            callee = _CALLEE.search(text[max(0, at - 200) : at]) if sign == "(" else None
            open_.append((sign, "" if callee is None else callee[1], at + 1, []))
        elif sign in _CLOSE:
            if open_:
                open_.pop()
        elif sign == "," and open_:
            bracket, called, begin, arguments = open_[-1]
            arguments.append(text[begin:at])
            open_[-1] = (bracket, called, at + 1, arguments)
        at += 1
    if not open_:
        return None
    bracket, called, begin, arguments = open_[-1]
    key = bracket == "{" and len(open_) > 1 and ":" not in text[begin : string or end]
    if key:
        _, called, _, arguments = open_[-2]
    if not called:
        return None
    inside = None if string is None else text[string:]
    return Place(called, tuple(arguments), text[begin:], inside, key)


def _string_end(text: str, at: int, quote: str) -> int:
    """Past the end of a string that begins before `at`; -1 when it is open at the end."""
    while at < len(text):
        if text[at] == "\\":
            at += 2
        elif text.startswith(quote, at):
            return at + len(quote)
        elif text[at] == "\n" and len(quote) == 1:
            return at  # not closed on its line: the author is not there
        else:
            at += 1
    return -1


def _unquoted(text: str) -> str | None:
    """What a plain string literal says, None for anything else."""
    text = text.strip()
    if len(text) >= 2 and text[0] in "\"'" and text[-1] == text[0] and text[0] not in text[1:-1]:
        return text[1:-1]
    return None


def _versions(version: str) -> list[Option]:
    """The version that serves, and those that may follow it."""
    major, minor, patch = (int(part) for part in version.partition("-")[0].split("."))
    following = (f"{major}.{minor}.{patch + 1}", f"{major}.{minor + 1}.0", f"{major + 1}.0.0")
    return [(each, "text") for each in (version, *following)]


def _paths(typed: str, *, files: bool) -> Iterator[Option]:
    """Directories, and files that can hold a component, that `typed` may become."""
    folder, _ = os.path.split(typed)
    where = Path(folder or ".").expanduser()
    for entry in sorted(os.scandir(where), key=lambda entry: entry.name):
        if entry.name.startswith("."):
            continue
        path = os.path.join(folder, entry.name)  # noqa: PTH118 -- `./` and `~` stay as typed
        if entry.is_dir():
            yield path + "/", "path"
        elif files and entry.name.endswith((".py", ".ipynb", *WASM)):
            yield path, "path"

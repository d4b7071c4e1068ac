"""What a component's text or manifest says that others may reach, and what it wants to reach."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from aegis.core.component import MODULES, ModelSpec, Part, Source
from aegis.core.errors import InvalidError, closest
from aegis.core.grant import Grant, is_event, read_asks, read_thing
from aegis.core.manifest import Exports

EXPORTS = "__exports__"
GRANTS = "__grants__"

# What every datasource has (see protocols.Datasource), and hardly anything else.
_VERBS = ("get", "list", "count", "scan", "write", "clear")

# The module of a revision: the component's name, and a number of its own.
_MODULE = re.compile(rf"^{re.escape(MODULES)}(.+)_r\d+$")


class Reaching:
    """Reads that of one module, where the manifest is silent. What is wrong goes to `problems`."""

    def __init__(self, source: Source, names: Mapping[str, Any], problems: list[str]) -> None:
        self._source = source
        self._names = names
        self._problems = problems

    def exports(
        self, models: Sequence[ModelSpec], parts: Sequence[Part], own: Mapping[str, Any]
    ) -> Exports | None:
        """What others may reach, None for everything; what is from elsewhere must say it."""
        manifest = self._source.manifest
        said = None if manifest is None else manifest.exports
        known = {
            "models": [one.name for one in models],
            "datasources": [
                name
                for name, one in own.items()
                if isinstance(one, type) and all(hasattr(one, verb) for verb in _VERBS)
            ],
            "adapters": [one.name for one in parts],
        }
        if said is None and EXPORTS in self._names:
            said = self._sorted(known)
        if said is None:
            return None if self._source.is_local else Exports()
        for kind in (*known, "events"):
            for text in getattr(said, kind):
                self._check(kind, text, known.get(kind))
        return said

    def _check(self, kind: str, text: str, known: Iterable[str] | None) -> None:
        try:
            thing = read_thing(self._source.name, text)
        except InvalidError as error:
            self._problems.append(f"exports.{kind}: {error}")
            return
        if thing.is_event is not (known is None):
            self._problems.append(f"exports.{kind} has {text!r}, which is of another kind")
        elif known is not None and thing.what not in known:
            hint = closest(thing.what, known) or f"there are {', '.join(known) or 'none'}"
            self._problems.append(f"exports.{kind} has {text!r}, which is not there: {hint}")

    def _sorted(self, known: Mapping[str, Sequence[str]]) -> Exports | None:
        """What `__exports__` lists, each as what it is."""
        said = self._names[EXPORTS]
        if isinstance(said, Exports):  # of a component that says it as data
            return said
        if isinstance(said, str) or not isinstance(said, Iterable):
            self._problems.append(f'{EXPORTS} is a list, as in ["Order", "order.*"]')
            return None
        found: dict[str, list[str]] = {kind: [] for kind in (*known, "events")}
        for one in said:
            text = one.__name__ if isinstance(one, type) else str(one)
            what = text.partition(":")[0]
            if is_event(what):
                found["events"].append(text)
                continue
            found[next((kind for kind in known if what in known[kind]), "models")].append(text)
        return Exports(**{kind: tuple(texts) for kind, texts in found.items()})

    def asks(self) -> tuple[Grant, ...] | None:
        """What it wants to reach, None for everything; what is from elsewhere must say it."""
        manifest = self._source.manifest
        said: Any = None if manifest is None else manifest.grants or None
        if said is None:
            said = self._names.get(GRANTS)
        if said is None:
            return None if self._source.is_local else ()
        try:
            return read_asks(
                {
                    str(owner): (things,) if isinstance(things, str) else tuple(map(str, things))
                    for owner, things in said.items()
                }
            )
        except InvalidError as error:
            self._problems.append(f"grants: {error}")
        except (AttributeError, TypeError):
            self._problems.append(f'{GRANTS} is a dict, as in {{"customers": ["Customer:read"]}}')
        return None


def unseen(component: str, error: BaseException) -> str | None:
    """What to do about an import that fails because it means another component, if it does."""
    if not isinstance(error, ModuleNotFoundError) or error.name is None:
        return None
    top = error.name.partition(".")[0]
    loaded = {found[1] for name in list(sys.modules) if (found := _MODULE.match(name))}
    known = loaded - {component.replace("-", "_")}
    own = f"{MODULES}{component.replace('-', '_')}_r"
    if error.name.startswith(own) or (top not in known and top != MODULES.rstrip(".")):
        return None
    return (
        "components do not see each other's code: relate to its models by name, consume its "
        "events, bind an adapter that it exports, or let both depend on a source that they share"
    )

"""Which wheels a component's dependencies come to: the newest that fit, by resolvelib."""

from __future__ import annotations

import email.parser
import importlib.metadata
import platform
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import resolvelib
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

from aegis.adapters.libraries.index import File, Index
from aegis.core.errors import ComponentError, SourceError
from aegis.core.wheel import Wheel

ROUNDS = 500  # of resolvelib, after which it is given up
PATIENCE = 120.0  # seconds, after which it is too

# Makes the wheel of a file: fetches it, checks it, keeps it.
Fetch = Callable[[File], Wheel]


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What is wanted of a library, and by whom."""

    requirement: Requirement
    by: str

    @property
    def name(self) -> str:
        """The canonical name."""
        return canonicalize_name(self.requirement.name)

    def __str__(self) -> str:
        return f"{self.by} wants {self.requirement}"


@dataclass(frozen=True)
class Choice:
    """One version of a library that could be taken: the host's, a given wheel, or a file.

    `extra` are the extras of it that this choice stands for.
    """

    name: str
    version: Version
    extra: frozenset[str] = frozenset()
    file: File | None = field(default=None, compare=False)
    wheel: Wheel | None = field(default=None, compare=False)

    @property
    def is_host(self) -> bool:
        """Whether the host has it, so that nothing is to do."""
        return self.file is None and self.wheel is None


def host_version(name: str) -> Version | None:
    """The version of a library that is installed where the host runs."""
    try:
        return Version(importlib.metadata.version(name))
    except (importlib.metadata.PackageNotFoundError, ValueError, TypeError):
        return None


class Resolution:
    """Finds the wheels for one component.

    `given` are wheels that its manifest names, by library. Of others the index is asked when
    `is_open`. Its methods block.
    """

    def __init__(
        self,
        component: str,
        index: Index,
        *,
        given: Mapping[str, Wheel | File],
        is_open: bool,
        fetch: Fetch,
    ) -> None:
        self._component = component
        self._index = index
        self._given = given
        self._is_open = is_open
        self._fetch = fetch
        self._asks: dict[str, Sequence[Requirement]] = {}
        self._why: dict[str, str] = {}
        self._until = time.monotonic() + PATIENCE

    def wheels(self, wishes: Iterable[Wish]) -> list[Wheel]:
        """What is needed and the host has not, by name. Raises ComponentError, SourceError."""
        resolver = resolvelib.Resolver(_Provider(self), resolvelib.BaseReporter())
        try:
            found = resolver.resolve(list(wishes), max_rounds=ROUNDS).mapping
        except resolvelib.ResolutionImpossible as error:
            raise self._impossible(error.causes) from None
        except resolvelib.ResolutionTooDeep:
            raise ComponentError(
                self._component,
                [f"no fitting versions of its libraries were found in {ROUNDS} rounds"],
                hint="say narrower ranges in [component.dependencies]",
            ) from None
        chosen = {choice.name: choice for choice in found.values() if not choice.is_host}
        return [self._wheel(chosen[name]) for name in sorted(chosen)]

    def choices(self, name: str, wishes: Sequence[Wish], without: set[Version]) -> Iterator[Choice]:
        """What could be taken of a library, the best first."""
        if time.monotonic() > self._until:
            raise SourceError(
                f"the libraries of {self._component} were not found in {PATIENCE:g} s",
                hint="try again: what was fetched is kept",
            )
        ranges = SpecifierSet()
        for wish in wishes:
            ranges &= wish.requirement.specifier
        extra = frozenset[str]().union(*(wish.requirement.extras for wish in wishes))
        installed = host_version(name)
        given = self._given.get(name)
        if installed is not None and not extra and is_in(installed, ranges):
            if installed not in without:
                yield Choice(name, installed)
            if given is None:
                return
        if isinstance(given, Wheel):
            version = Version(given.version)
            self._why[name] = f"the manifest names {given.label}"
            if version not in without and is_in(version, ranges):
                yield Choice(name, version, extra, wheel=given)
            return
        files = self._files(name) if given is None else (given,)
        fitting = set(ranges.filter(file.version for file in files)) - without
        seen: set[Version] = set()
        for file in files:
            if file.version in fitting and file.version not in seen:
                seen.add(file.version)
                yield Choice(name, file.version, extra, file=file)

    def _files(self, name: str) -> Sequence[File]:
        """The files of a library that this Python can use, the newest version first."""
        installed = host_version(name)
        has = "" if installed is None else f"; the host has {installed}"
        if not self._is_open:
            self._why[name] = f"[component.dependencies] says no sha256 of {name}{has}"
            return ()
        listing = self._index.listing(name)
        python = Version(platform.python_version())
        found = [file for file in listing.files if _runs(file, python)]
        if found:
            versions = ", ".join(str(file.version) for file in found[:3])
            self._why[name] = f"the index has {versions}{'' if len(found) < 4 else ', …'}{has}"
        elif listing.files:
            self._why[name] = f"no version of {name} runs on Python {python}{has}"
        elif listing.others:
            wheels = [other for other in listing.others if other.endswith(".whl")]
            example = (wheels or listing.others)[-1]
            self._why[name] = (
                f"{name} is not pure Python: the index has only files like {example}, "
                f"and a component can have no native or unbuilt code for itself{has}"
            )
        else:
            self._why[name] = f"the index has no {name}{has}"
        return found

    def asked(self, choice: Choice) -> Iterator[Wish]:
        """What a choice needs in turn."""
        if choice.is_host:
            return
        label = f"{choice.name} {choice.version}"
        if label not in self._asks:
            self._asks[label] = self._requirements(choice, label)
        for requirement in self._asks[label]:
            marker = requirement.marker
            if marker is None or any(
                marker.evaluate({"extra": extra}) for extra in choice.extra or {""}
            ):
                yield Wish(requirement=requirement, by=label)

    def _requirements(self, choice: Choice, label: str) -> Sequence[Requirement]:
        apart = None if choice.file is None else self._index.metadata(choice.file)
        if apart is None:
            said = self._wheel(choice).metadata
        else:
            said = email.parser.BytesParser().parsebytes(apart)
        try:
            return [Requirement(text) for text in said.get_all("Requires-Dist") or ()]
        except InvalidRequirement as error:
            raise ComponentError(self._component, [f"{label} asks for {error}"]) from None

    def _wheel(self, choice: Choice) -> Wheel:
        if choice.wheel is not None:
            return choice.wheel
        assert choice.file is not None  # noqa: S101 -- what the host has is no wheel
        return self._fetch(choice.file)

    def _impossible(self, causes: Iterable[Any]) -> ComponentError:
        """What to raise of wishes that nothing fulfils."""
        wishes: list[Wish] = [cause.requirement for cause in causes]
        said = "; ".join(dict.fromkeys(str(wish) for wish in wishes))
        why = [
            self._why[name]
            for name in dict.fromkeys(wish.name for wish in wishes)
            if name in self._why
        ]
        name = wishes[0].name if wishes else ""
        hint = f"install {name} where the host runs: components use the host's copy"
        if not self._is_open:
            hint = f"its owner names the wheel of {name} with its sha256"
        elif not any("pure" in one for one in why):
            hint = "widen the range"
        return ComponentError(self._component, [": ".join([said, "; ".join(why)])], hint=hint)


def wish_of(component: str, name: str, version: str, *, by: str) -> Wish:
    """What a dependency in the manifest of `by` says. Raises ComponentError."""
    try:
        return Wish(requirement=Requirement(f"{name} {'' if version == '*' else version}"), by=by)
    except (InvalidRequirement, InvalidSpecifier):
        raise ComponentError(
            component,
            [f"dependency {name!r}: {version!r} is no range of versions as PEP 440 says it"],
            hint='write it as ">=1.2,<2"',
        ) from None


def is_in(version: Version, ranges: SpecifierSet) -> bool:
    """Whether a version is in a range; one that somebody chose already may be a pre-release."""
    return ranges.contains(version, prereleases=True)


def _runs(file: File, python: Version) -> bool:
    try:
        return SpecifierSet(file.requires_python or "").contains(python, prereleases=True)
    except InvalidSpecifier:
        return False


class _Provider(resolvelib.AbstractProvider):  # type: ignore[type-arg]
    """How resolvelib asks a Resolution."""

    def __init__(self, resolution: Resolution) -> None:
        self._resolution = resolution

    def identify(self, requirement_or_candidate: Wish | Choice) -> str:
        return requirement_or_candidate.name

    def get_preference(
        self,
        identifier: str,
        resolutions: Any,
        candidates: Any,
        information: Any,
        backtrack_causes: Any,
    ) -> tuple[bool, str]:
        causes = {cause.requirement.name for cause in backtrack_causes}
        return identifier not in causes, identifier

    def find_matches(
        self, identifier: str, requirements: Any, incompatibilities: Any
    ) -> list[Choice]:
        without = {choice.version for choice in incompatibilities[identifier]}
        return list(self._resolution.choices(identifier, list(requirements[identifier]), without))

    def is_satisfied_by(self, requirement: Wish, candidate: Choice) -> bool:
        return is_in(candidate.version, requirement.requirement.specifier) and (
            requirement.requirement.extras <= candidate.extra
        )

    def get_dependencies(self, candidate: Choice) -> list[Wish]:
        return list(self._resolution.asked(candidate))

"""An index of packages, asked by the Simple API (PEP 503 and 691)."""

from __future__ import annotations

import importlib
import os
from contextlib import suppress
from dataclasses import dataclass
from html.parser import HTMLParser
from urllib.parse import unquote, urldefrag, urljoin

import msgspec
from packaging.tags import sys_tags
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import Version

from aegis.core.errors import SourceError

JSON = "application/vnd.pypi.simple.v1+json"
ACCEPT = f"{JSON}, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"
LISTING = 64 << 20  # bytes of the list of a project's files

_TAGS = frozenset(tag for tag in sys_tags() if tag.platform == "any" and tag.abi == "none")


@dataclass(frozen=True, kw_only=True)
class File:
    """A wheel of pure Python that an index offers; `metadata` is the digest of what it asks for."""

    name: str
    version: Version
    filename: str
    url: str
    sha256: str
    requires_python: str | None = None
    metadata: str | None = None


@dataclass(frozen=True, kw_only=True)
class Listing:
    """What an index has of a project: files that can be used, and names of those that cannot."""

    files: tuple[File, ...]
    others: tuple[str, ...] = ()


def is_pure(filename: str) -> bool:
    """Whether a wheel's name says that it is pure Python, for this Python."""
    try:
        return not _TAGS.isdisjoint(parse_wheel_filename(filename)[3])
    except (InvalidWheelFilename, ValueError):
        return False


class Index:
    """One index. Its methods block, and are called off the loop."""

    def __init__(self, address: str | None) -> None:
        self._address = address
        self._listings: dict[str, Listing] = {}

    def listing(self, name: str) -> Listing:
        """What there is of a project, each asked for once. Raises SourceError."""
        if name not in self._listings:
            self._listings[name] = self._asked(name)
        return self._listings[name]

    def metadata(self, file: File) -> bytes | None:
        """What a file asks for, None where the index has that only in the file itself.

        Raises SourceError, DigestError.
        """
        from aegis.adapters.libraries.transport import fetched

        if file.metadata is None:
            return None
        return fetched(f"{file.url}.metadata", file.metadata, most=1 << 20)

    def _asked(self, name: str) -> Listing:
        from aegis.adapters.libraries.transport import MissingError, read, shown

        address = self._address or default_address()
        url = f"{address.rstrip('/')}/{canonicalize_name(name)}/"
        try:
            response = read(url, LISTING, headers={"Accept": ACCEPT})
        except MissingError:
            return Listing(files=())
        if "json" in response.kind:
            try:
                said = msgspec.json.decode(response.content, type=_Project)
            except (msgspec.DecodeError, RecursionError) as error:
                raise SourceError(f"the index at {shown(url)} answers oddly: {error}") from None
            entries = said.files
        else:
            page = _Page()
            page.feed(response.content.decode("utf-8", "replace"))
            entries = page.entries
        return _sorted_out(entries, response.url, canonicalize_name(name))


class _Entry(msgspec.Struct, rename="kebab"):
    """One file, as the API says it."""

    filename: str
    url: str
    hashes: dict[str, str] = {}
    requires_python: str | None = None
    yanked: bool | str = False
    core_metadata: bool | dict[str, str] = False


class _Project(msgspec.Struct):
    files: list[_Entry]


class _Page(HTMLParser):
    """The links of an index that answers in HTML."""

    def __init__(self) -> None:
        super().__init__()
        self.entries: list[_Entry] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take in a link."""
        said = {name: value or "" for name, value in attrs}
        if tag != "a" or "href" not in said:
            return
        url, fragment = urldefrag(said["href"])
        kind, _, digest = fragment.partition("=")
        self.entries.append(
            _Entry(
                filename=unquote(url.rpartition("/")[2]),
                url=url,
                hashes={kind: digest},
                requires_python=said.get("data-requires-python"),
                yanked="data-yanked" in said,
            )
        )


def _sorted_out(entries: list[_Entry], base: str, wanted: str) -> Listing:
    files, others = [], []
    for entry in entries:
        sha256 = entry.hashes.get("sha256")
        if entry.yanked is not False or not sha256:
            continue
        if not is_pure(entry.filename):
            others.append(entry.filename)
            continue
        name, version, _, _ = parse_wheel_filename(entry.filename)
        if name != wanted:
            continue
        apart = entry.core_metadata if isinstance(entry.core_metadata, dict) else {}
        files.append(
            File(
                name=name,
                version=version,
                filename=entry.filename,
                url=urljoin(base, entry.url),
                sha256=sha256,
                requires_python=entry.requires_python,
                metadata=apart.get("sha256"),
            )
        )
    files.sort(key=lambda file: file.version, reverse=True)
    return Listing(files=tuple(files), others=tuple(others))


def default_address() -> str:
    """The index that pip goes by here. Raises SourceError when nothing says one."""
    said = os.environ.get("PIP_INDEX_URL")
    if said:
        return said
    try:
        # There is no public way to ask, and to run pip for it would take a second.
        settings = importlib.import_module("pip._internal.configuration")
        known = settings.Configuration(isolated=False)
        known.load()
        for key in ("install.index-url", "global.index-url"):
            with suppress(Exception):  # it raises for what nothing says
                return str(known.get_value(key))
        return str(importlib.import_module("pip._internal.models.index").PyPI.simple_url)
    except Exception as error:
        raise SourceError(
            "no index of packages is known here",
            hint="say one with [libraries] index in aegis.toml, or in PIP_INDEX_URL",
        ) from error

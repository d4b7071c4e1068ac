"""Where a component is: one grammar for files, cells, the web and repositories, as a value."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal, cast, get_args
from urllib.parse import urlsplit

import msgspec

from aegis.core.errors import InvalidError, closest
from aegis.core.manifest import DIGEST, NAME, WASM, is_inside
from aegis.core.port import Secret
from aegis.core.semver import is_range

Speech = Literal["github", "gitlab", "gitea"]
Kind = Literal["file", "cell", "web", "repository"]

# What is read of a file, by how its name ends; all else is a folder.
CODE, BOOK, ARCHIVES = ".py", ".ipynb", (".whl", ".zip")
ENDINGS = (CODE, *WASM, BOOK, *ARCHIVES)
COMMIT = re.compile(r"^[0-9a-f]{40}([0-9a-f]{24})?$")
MOST = 2048  # characters of an address

SCHEME = re.compile(r"^([a-z][a-z0-9+_-]+):(.*)$", re.DOTALL)
_SECRET = re.compile(r"(?<=://)[^/@#]*@|\?[^#]*")
_PROJECT = re.compile(r"^[A-Za-z0-9_.-]+$")
_SAYS = "a path, cell:NAME, https://..., or github:OWNER/REPO[/PATH][@REF]"


class Forge(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A server of repositories: which API it speaks, where that is, and what it wants to see.

    `api` is the base of its addresses, over https, or over http on this machine.
    """

    kind: Speech
    api: str
    token: Secret | None = None

    @property
    def is_nested(self) -> bool:
        """Whether a project may be in groups of groups, so that its path ends with `//`."""
        return self.kind == "gitlab"


FORGES: Mapping[str, Forge] = MappingProxyType(
    {
        "github": Forge(kind="github", api="https://api.github.com"),
        "gitlab": Forge(kind="gitlab", api="https://gitlab.com/api/v4"),
        "gitea": Forge(kind="gitea", api="https://gitea.com/api/v1"),
        "codeberg": Forge(kind="gitea", api="https://codeberg.org/api/v1"),
    }
)


@dataclass(frozen=True, kw_only=True)
class Address:
    """An address as it is meant; `str()` writes it as it is read.

    `scheme` is what it begins with, empty of a plain path. `place` is a path of this machine, a
    cell's component, a URL, or a project; `path` is inside the project. `ref` is a branch, a tag, a
    commit or a range of versions, empty for the default branch. `component` chooses one of several,
    `sha256` is the digest that the content must have.
    """

    kind: Kind
    place: str
    scheme: str = ""
    path: str = ""
    ref: str = ""
    component: str = ""
    sha256: str = ""
    is_nested: bool = False

    def __str__(self) -> str:
        text = self.place if self.kind == "web" else self._after_scheme()
        text += f"@{self.ref}" if self.ref else ""
        choices = [self.component, f"sha256={self.sha256}" if self.sha256 else ""]
        chosen = "&".join(choice for choice in choices if choice)
        return f"{text}#{chosen}" if chosen else text

    def _after_scheme(self) -> str:
        said = f"{self.scheme}:{self.place}" if self.scheme else self.place
        if self.path:
            said += f"//{self.path}" if self.is_nested else f"/{self.path}"
        return said

    @property
    def is_local(self) -> bool:
        """Whether it is on this machine, and nobody needs to be asked."""
        return self.kind in {"file", "cell"}

    @property
    def range(self) -> str | None:
        """The range of versions that its ref says, None when it says something else."""
        return self.ref if self.ref and not self.is_commit and is_range(self.ref) else None

    @property
    def is_commit(self) -> bool:
        """Whether its ref is a whole commit, which never means anything else."""
        return COMMIT.match(self.ref) is not None

    @property
    def source(self) -> str:
        """The address without ref, choice and digest: what stays the same over all versions."""
        return str(replace(self, ref="", component="", sha256=""))

    @property
    def folder(self) -> str:
        """The folder of a repository that is meant, or that has the file that is."""
        return self.path.rpartition("/")[0] if self.path.endswith(ENDINGS) else self.path

    @property
    def entry(self) -> str:
        """The file of a repository that is meant, empty for all of its folder."""
        return self.path.rpartition("/")[2] if self.path.endswith(ENDINGS) else ""


def parse(text: str, forges: Mapping[str, Forge] = FORGES) -> Address:
    """The address that a text says. `forges` are the names that repositories may begin with.

    Raises InvalidError naming what is wrong with it.
    """
    if not text.strip():
        raise InvalidError("an address is missing", hint=_SAYS)
    if len(text) > MOST or not text.isprintable():
        raise InvalidError(f"{text[:40]!r} is no address", hint=f"{MOST} printable characters")
    found = SCHEME.match(text)
    scheme = found[1] if found else ""
    if scheme not in {"", "file"} and _SECRET.search(text):
        # An address is shown, logged and written into locks.
        raise InvalidError(
            f"{_SECRET.sub('', text)!r} was given with a password or a query, "
            "which an address has not",
            hint="a token belongs in [sources.NAME] of aegis.toml",
        )
    if scheme in {"", "file"}:
        rest, component, sha256 = _choice(text.removeprefix("file:"), text, is_path=True)
        if not rest:
            raise InvalidError(f"{text!r} says no path", hint=_SAYS)
        is_plain = not scheme and not SCHEME.match(rest)
        return Address(
            kind="file",
            scheme="" if is_plain else "file",
            place=rest,
            component=component,
            sha256=sha256,
        )
    rest, component, sha256 = _choice(text, text)
    rest = rest[len(scheme) + 1 :]
    if scheme == "cell":
        if not NAME.match(rest) or component or sha256:
            raise InvalidError(f"{text!r} names no component", hint="write it as cell:orders")
        return Address(kind="cell", scheme=scheme, place=rest)
    if scheme in {"https", "http"}:
        place = f"{scheme}:{rest}"
        _check_url(place, text)
        if not place.endswith(("/", *ENDINGS)):
            raise InvalidError(
                f"{text!r} is neither a file that can be read nor a folder",
                hint=f"it ends in {', '.join(ENDINGS)}, or in / where an aegis.toml is",
            )
        return Address(kind="web", scheme=scheme, place=place, component=component, sha256=sha256)
    forge = forges.get(scheme)
    if forge is None:
        raise InvalidError(
            f"{text!r}: no source is called {scheme!r}",
            hint=closest(scheme, (*forges, "https", "http", "file", "cell"))
            or f"say [sources.{scheme}] in aegis.toml, or file:{text} for a path",
        )
    rest, ref = _ref(rest, text)
    project, path = _nested(rest) if forge.is_nested else _flat(rest)
    names = project.split("/")
    if len(names) < 2 or not all(
        _PROJECT.match(name) and name not in {".", ".."} for name in names
    ):
        raise InvalidError(
            f"{text!r} names no repository",
            hint=f"write it as {scheme}:"
            + ("GROUP/PROJECT[//PATH][@REF]" if forge.is_nested else "OWNER/REPO[/PATH][@REF]"),
        )
    return Address(
        kind="repository",
        scheme=scheme,
        place=project,
        path=_inner(path, text),
        ref=ref,
        component=component,
        sha256=sha256,
        is_nested=forge.is_nested,
    )


def _choice(rest: str, text: str, *, is_path: bool = False) -> tuple[str, str, str]:
    """What is before the last `#`, and the component and the digest that are said after it."""
    before, mark, after = rest.rpartition("#")
    if not mark or (is_path and "/" in after):
        return rest, "", ""
    component = sha256 = ""
    for choice in after.split("&"):
        if choice.startswith("sha256=") and DIGEST.match(choice[7:]) and not sha256:
            sha256 = choice[7:]
        elif NAME.match(choice) and not component:
            component = choice
        else:
            raise InvalidError(
                f"{text!r}: {choice!r} chooses nothing",
                hint="after # is a component's name, or sha256= and 64 hex digits",
            )
    return before, component, sha256


def _ref(rest: str, text: str) -> tuple[str, str]:
    """What is before the first `@`, and the ref after it."""
    before, mark, ref = rest.partition("@")
    if mark and not ref:
        raise InvalidError(f"{text!r} says no ref", hint="after @ is a branch, a tag, or ^1.2")
    if ref and not is_range(ref):
        parts = ref.split("/")
        is_sound = not any(character in ref for character in " ~^:?*[\\#%&") and ".." not in ref
        if not is_sound or ref[0] == "-" or any(not part.strip(".") for part in parts):
            raise InvalidError(
                f"{text!r}: {ref!r} is neither a ref nor a range", hint="write it as main or ^1.2"
            )
    return before, ref


def _flat(rest: str) -> tuple[str, str]:
    owner, _, more = rest.partition("/")
    repository, _, path = more.partition("/")
    return f"{owner}/{repository}", path


def _nested(rest: str) -> tuple[str, str]:
    project, _, path = rest.partition("//")
    return project, path


def _inner(path: str, text: str) -> str:
    path = path.strip("/")
    if path and not is_inside(path):
        raise InvalidError(f"{text!r}: {path!r} is no path inside a repository")
    return path


def _check_url(url: str, text: str) -> None:
    """Raise InvalidError unless a URL may be asked: over https, or on this machine."""
    try:
        split = urlsplit(url)
        host, _ = split.hostname, split.port
    except ValueError as error:
        raise InvalidError(f"{text!r} is no URL: {error}") from None
    if not url.startswith(f"{split.scheme}://") or not host or any(c in url for c in ' \\<>^`{|}"'):
        raise InvalidError(f"{text!r} is no URL", hint="write it as https://host/path")
    if split.username is not None or split.password is not None or split.query:
        raise InvalidError("a URL was given with a password or a query, which it may not have")
    if any(part in {".", ".."} for part in split.path.split("/")):
        raise InvalidError(f"{text!r} has . or .. in its path")
    if split.scheme == "http" and not is_loopback(host):
        raise InvalidError(f"{text!r} is not on this machine", hint="over a network it is https://")


def is_loopback(host: str) -> bool:
    """Whether a host's name or address is this machine's own."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def forge_of(name: str, said: Mapping[str, object], base: Forge | None = None) -> Forge:
    """The forge that a table `[sources.NAME]` says, `base` for what it leaves out.

    Raises InvalidError naming the key at fault.
    """
    where = f"[sources.{name}]"
    if not re.fullmatch(r"[a-z][a-z0-9_-]+", name) or name in {"https", "http", "file", "cell"}:
        raise InvalidError(
            f"{where}: {name!r} is no name for a source", hint="lower case letters, digits, - and _"
        )
    unknown = said.keys() - set(Forge.__struct_fields__)
    if unknown:
        key = min(unknown)
        raise InvalidError(f"{where} has no {key!r}", hint=closest(key, Forge.__struct_fields__))
    kind, api, token = said.get("kind"), said.get("api"), said.get("token")
    kind = kind if kind is not None else base and base.kind
    api = api if api is not None else base and base.api
    if kind not in get_args(Speech):
        raise InvalidError(f"{where}: kind is one of {', '.join(get_args(Speech))}")
    if not isinstance(api, str):
        raise InvalidError(f"{where}: api is the address of its API, a text")
    if token is not None and (not isinstance(token, str) or not token.isascii() or not token):
        raise InvalidError(f"{where}: token is a text")
    if _SECRET.search(api):
        raise InvalidError(
            f"{where}: api has a password or a query", hint="a token has a key: token"
        )
    _check_url(api, f"{where} api = {api}")
    secret = Secret(token.strip()) if token is not None else base.token if base else None
    return Forge(kind=cast("Speech", kind), api=api.rstrip("/"), token=secret)

"""What a source says of the component in it: the `[component]` table of its aegis.toml."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from typing import Any

import msgspec

from aegis.core.errors import ManifestError, closest
from aegis.core.semver import is_range

NAME = re.compile(r"^[a-z][a-z0-9_-]{0,63}$")
VERSION = re.compile(r"^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?$")

# What begins the names of the host's own cursors and failures, where a component's name may stand.
TAKEN = frozenset(
    {
        "absent",
        "answer",
        "flow",
        "group",
        "host",
        "journal",
        "listener",
        "once",
        "outbox",
        "schedule",
    }
)

# Code in WebAssembly, by how its file ends: the module itself, or its text.
WASM = (".wasm", ".wat")
FILE = "aegis.toml"
TABLE = "component"
SIGNATURE = "aegis.sig"
DIGEST = re.compile(r"^[0-9a-f]{64}$")
MOST = 1 << 20  # bytes of a manifest
DOTS = 100  # in a line of it


class Dependency(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Code of others that a component imports: a pure-Python wheel, or the files of a source.

    `version` is a range: of the wheel's version as PEP 440 says it, of a source as npm does.
    `wheel` is where the wheel is (an address over https, or a path in the source); without, the
    host's index is asked. `source` is the address of a component's source whose files are meant.
    `sha256` is the digest of the wheel's bytes, or of the source. `twice` says whether it may be
    there in two versions at a time, where that is not what its text looks like (core/footprint.py).
    """

    version: str = "*"
    wheel: str | None = None
    source: str | None = None
    sha256: str | None = None
    twice: bool | None = None


class Exports(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What others may reach: models and adapters by class, datasources by name, event globs."""

    models: tuple[str, ...] = ()
    adapters: tuple[str, ...] = ()
    datasources: tuple[str, ...] = ()
    events: tuple[str, ...] = ()


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A component as its source describes it. All paths are relative to the manifest's folder.

    `models`, `adapters` and `services` are the Python files that have them; the first one of all
    is the component's own file if there is only one. A module in WebAssembly (.wasm, or .wat as
    text) is the only file it names. `exports` None leaves it to the host what others may reach.
    `grants` are what it asks of other components: `{"customers": ("Customer", "customer.*")}`.
    `files` has the SHA-256 of every file of the source but this one and its
    signature, `expires` the time (RFC 3339) from which it is not to be deployed any more.
    """

    name: str
    version: str
    description: str = ""
    models: tuple[str, ...] = ()
    adapters: tuple[str, ...] = ()
    services: tuple[str, ...] = ()
    dependencies: Mapping[str, Dependency] = {}
    exports: Exports | None = None
    grants: Mapping[str, tuple[str, ...]] = {}
    files: Mapping[str, str] = {}
    expires: str | None = None

    @property
    def code(self) -> tuple[str, ...]:
        """The files that are named, each once, in their order."""
        return tuple(dict.fromkeys((*self.models, *self.adapters, *self.services)))

    @property
    def wasm(self) -> str:
        """The one file of a component in WebAssembly, empty of one in Python."""
        return next((path for path in self.code if path.endswith(WASM)), "")

    def document(self) -> bytes:
        """Its canonical JSON."""
        return msgspec.json.encode(self, order="deterministic")


def read_manifest(content: bytes, where: str = FILE) -> Manifest | None:
    """The manifest in an aegis.toml, None when it has no `[component]`.

    A dependency may be written as its range alone (`idna = ">=3"`). Raises ManifestError naming
    the file, what is wrong in it and the likely fix.
    """
    if len(content) > MOST:
        raise ManifestError(f"{where} is larger than {MOST >> 20} MiB")
    # A key with thousands of dots would keep the parser busy for minutes.
    if max((line.count(b".") for line in content.splitlines()), default=0) > DOTS:
        raise ManifestError(f"{where} cannot be read: a line has more than {DOTS} dots")
    try:
        document = tomllib.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:  # a number may be too long to be one
        raise ManifestError(f"{where} cannot be read: {error}") from None
    table = document.get(TABLE)
    if table is None:
        return None
    return manifest_of(table, where)


def manifest_of(table: Any, where: str = FILE) -> Manifest:
    """The manifest that a `[component]` table says. Raises ManifestError."""
    if not isinstance(table, dict):
        raise ManifestError(f"{where}: [{TABLE}] is a table")
    unknown = table.keys() - set(Manifest.__struct_fields__)
    if unknown:
        name = min(unknown)
        raise ManifestError(
            f"{where}: [{TABLE}] has no {name!r}", hint=closest(name, Manifest.__struct_fields__)
        )
    dependencies = table.get("dependencies")
    if isinstance(dependencies, dict):
        spelled = {
            name: {"version": said} if isinstance(said, str) else said
            for name, said in dependencies.items()
        }
        table = {**table, "dependencies": spelled}
    try:
        manifest = msgspec.convert(table, Manifest)
    except (msgspec.ValidationError, RecursionError) as error:
        raise ManifestError(f"{where}: [{TABLE}]: {error}") from None
    _check(manifest, where)
    return manifest


def _check(manifest: Manifest, where: str) -> None:
    if not NAME.match(manifest.name):
        raise ManifestError(
            f"{where}: {manifest.name!r} is no name of a component",
            hint="lower case letters, digits, - and _, a letter first",
        )
    if manifest.name in TAKEN:
        raise ManifestError(f"{where}: the host itself calls things {manifest.name!r}")
    if not VERSION.match(manifest.version):
        raise ManifestError(
            f"{where}: {manifest.version!r} is no version", hint="write it as 1.2.0"
        )
    for path in (*manifest.code, *manifest.files):
        if not is_inside(path):
            raise ManifestError(f"{where}: {path!r} is no path below the folder of the manifest")
    for path in manifest.code:
        if not path.endswith((".py", *WASM)):
            raise ManifestError(
                f"{where}: {path!r} is no code", hint="a file of code ends in .py, .wasm or .wat"
            )
        if manifest.files and path not in manifest.files:
            raise ManifestError(
                f"{where}: {path!r} is named and its sha256 is not",
                hint="`aegis sign` writes the [component.files] anew",
            )
    for path, digest in manifest.files.items():
        if not DIGEST.match(digest):
            raise ManifestError(f"{where}: {digest!r} of {path!r} is no sha256: 64 hex digits")
    if manifest.wasm:
        _check_wasm(manifest, where)
    _check_dependencies(manifest, where)


def _check_wasm(manifest: Manifest, where: str) -> None:
    """Raise ManifestError unless a module is all that a component in WebAssembly names."""
    if len(manifest.code) > 1:
        others = ", ".join(repr(path) for path in manifest.code if path != manifest.wasm)
        raise ManifestError(
            f"{where}: {manifest.wasm!r} is a whole component, and {others} is named beside it",
            hint="name one file under models; what else belongs to it is linked into it",
        )
    if manifest.dependencies:
        raise ManifestError(
            f"{where}: {manifest.wasm!r} imports no libraries of Python",
            hint="link what it needs into it, and leave out [component.dependencies]",
        )


def _check_dependencies(manifest: Manifest, where: str) -> None:
    for name, dependency in manifest.dependencies.items():
        if dependency.sha256 is not None and not DIGEST.match(dependency.sha256):
            raise ManifestError(f"{where}: the sha256 of dependency {name!r} is 64 hex digits")
        if dependency.wheel is not None and dependency.source is not None:
            raise ManifestError(f"{where}: dependency {name!r} is a wheel or a source, not both")
        if dependency.source is not None and not is_range(dependency.version):
            raise ManifestError(
                f"{where}: {dependency.version!r} of dependency {name!r} is no range",
                hint="write it as ^1.2",
            )


def is_inside(path: str) -> bool:
    """Whether a path of a manifest or an archive stays in its folder, on any machine."""
    parts = path.split("/")
    return (
        bool(path)
        and len(path) < 512
        and all(part not in {"", ".", ".."} for part in parts)
        and not any(character in path for character in '\\:*?"<>|\0')
        and path.isprintable()
    )

"""A wheel of pure Python, read from its bytes: what it is, what it holds, what it asks for."""

from __future__ import annotations

import email.parser
import hashlib
import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import PurePosixPath
from types import CodeType
from typing import TYPE_CHECKING

from aegis.core.archive import unpack
from aegis.core.component import Library
from aegis.core.errors import SourceError
from aegis.core.footprint import Footprint, footprint

if TYPE_CHECKING:
    from email.message import Message

# What only a machine of one kind can load.
NATIVE = (".so", ".pyd", ".dll", ".dylib")
# The name in an archive that a component's source was made into, which no wheel has.
SHARED = "aegis.shared"


@dataclass(frozen=True, kw_only=True, eq=False)
class Wheel:
    """One wheel, unpacked in memory. Revisions that import it share this, and no module of it.

    `sha256` is that of its bytes. `is_shared` is true of what was made of another component's
    source: its files mean each other by their plain names.
    """

    name: str
    version: str
    sha256: str
    files: Mapping[str, bytes]
    info: str
    is_shared: bool = False
    codes: dict[str, CodeType] = field(default_factory=dict)

    @property
    def library(self) -> Library:
        """What a source says of it."""
        return Library(name=self.name, version=self.version, sha256=self.sha256)

    @property
    def label(self) -> str:
        """`python-slugify 8.0.4`."""
        return f"{self.name} {self.version}"

    @cached_property
    def metadata(self) -> Message:
        """Its METADATA."""
        text = self.files.get(f"{self.info}/METADATA", b"").decode("utf-8", "replace")
        return email.parser.Parser().parsestr(text)

    @cached_property
    def footprint(self) -> Footprint | None:
        """Where it reaches the whole process when it is imported, None where nowhere."""
        return footprint(self.files)

    @cached_property
    def modules(self) -> Mapping[str, str]:
        """The path of each module that it has, by dotted name."""
        found = {}
        for path in sorted(self.files):
            if path.endswith(".py") and not path.startswith(f"{self.info}/"):
                parts = PurePosixPath(path).with_suffix("").parts
                if all(part.isidentifier() for part in parts):
                    found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
        return {name: path for name, path in found.items() if name}

    @cached_property
    def folders(self) -> frozenset[str]:
        """The dotted name of each folder with modules or data in it: packages, marked so or not."""
        found = set()
        for path in self.files:
            parts = PurePosixPath(path).parts[:-1]
            if parts and all(part.isidentifier() for part in parts):
                found |= {".".join(parts[: count + 1]) for count in range(len(parts))}
        return frozenset(found)

    @cached_property
    def tops(self) -> frozenset[str]:
        """What an import statement can begin with."""
        return frozenset(name.partition(".")[0] for name in (*self.modules, *self.folders))


def read_wheel(data: bytes, where: str) -> Wheel:
    """The wheel that `data` is. Raises SourceError naming `where`, and what is wrong with it.

    What is not of pure Python is refused by the file that is not.
    """
    from packaging.utils import canonicalize_name
    from packaging.version import InvalidVersion, Version

    files = unpack(data, where)
    native = next((path for path in sorted(files) if path.lower().endswith(NATIVE)), None)
    if native is not None:
        raise SourceError(
            f"{where}: {native} is native code, which a component cannot have for itself",
            hint="install it where the host runs: components use the host's copy",
        )
    infos = {path.partition("/")[0] for path in files if "/" in path}
    found = sorted(folder for folder in infos if folder.endswith(".dist-info"))
    if len(found) != 1 or f"{found[0]}/METADATA" not in files:
        raise SourceError(f"{where} is no wheel: it has no METADATA in one folder .dist-info")
    wheel = Wheel(
        name="", version="", sha256=hashlib.sha256(data).hexdigest(), files=files, info=found[0]
    )
    name, version = wheel.metadata["Name"], wheel.metadata["Version"]
    if not name or not version:
        raise SourceError(f"{where}: its METADATA says no name or no version")
    try:
        Version(version)
    except InvalidVersion:
        raise SourceError(f"{where}: its METADATA says {version!r}, which is no version") from None
    placed = f"{found[0].removesuffix('.dist-info')}.data/"
    plain = {}
    for path, content in files.items():
        # The few files that an installer would move to where modules are.
        inside = path.removeprefix(placed)
        part, _, rest = inside.partition("/")
        if inside == path:
            plain[path] = content
        elif part in {"purelib", "platlib"}:
            plain[rest] = content
    return Wheel(
        name=canonicalize_name(name),
        version=version,
        sha256=wheel.sha256,
        files=plain,
        info=found[0],
        is_shared=f"{found[0]}/{SHARED}" in files,
    )


def shared_wheel(
    name: str, version: str, files: Mapping[str, bytes], named: Sequence[str]
) -> bytes:
    """The wheel of another component's source: a package of its name with its .py `files`.

    The package itself has what its `named` files offer, if it has no `__init__.py`. The same files
    make the same bytes.
    """
    folder = name.replace("-", "_")
    info = f"{folder}-{version}.dist-info"
    modules = (".".join(PurePosixPath(path).with_suffix("").parts) for path in named)
    content = {
        f"{folder}/__init__.py": "".join(f"from .{one} import *\n" for one in modules).encode(),
        **{f"{folder}/{path}": text for path, text in files.items() if path.endswith(".py")},
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode(),
        f"{info}/{SHARED}": b"",
    }
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:  # stored, so that no other zlib makes other bytes
        for path in sorted(content):
            archive.writestr(zipfile.ZipInfo(path), content[path])
    return made.getvalue()

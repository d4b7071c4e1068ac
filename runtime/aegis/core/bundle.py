"""A component as it was fetched: its manifest and its files, and where they are from."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from keyword import iskeyword

import msgspec

from aegis.core.code import Closure, Files, Folder
from aegis.core.component import Library, Source
from aegis.core.errors import ComponentError, DigestError, ManifestError
from aegis.core.manifest import FILE, SIGNATURE, WASM, Manifest, is_inside

SHOWN = 5  # problems that an error tells


# What the addresses of components begin with that somebody sent.
UPLOAD = "upload:"


@dataclass(frozen=True, kw_only=True)
class Offer:
    """One version that a source offers, and what it has it under: a commit, an address."""

    version: str
    ref: str


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """All files of one component as bytes, by path from its folder, and what they are.

    `address` is what was asked for, `resolved` what that was then: a commit, an address, a digest
    (empty where there is nothing more exact than the address). `is_local` is true of what is on
    this machine, which needs no signature. `manifest` is derived where the source has none. The
    files have the manifest's own bytes and the signature, where there are such. `assembled` is the
    module that the text of a .wat is.
    """

    manifest: Manifest
    files: Mapping[str, bytes]
    address: str
    resolved: str = ""
    is_local: bool = False
    is_derived: bool = False
    assembled: bytes = b""
    fetched: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of its manifest and files, hex."""
        sums = (f"{hashlib.sha256(self.files[path]).hexdigest()}  {path}\n" for path in self.paths)
        whole = self.manifest.document() + b"\n" + "".join(sums).encode()
        return hashlib.sha256(whole).hexdigest()

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths of its files but the manifest and the signature, sorted."""
        return tuple(sorted(self.files.keys() - {FILE, SIGNATURE}))

    @property
    def signature(self) -> bytes | None:
        """The content of aegis.sig, None without one."""
        return self.files.get(SIGNATURE)

    @property
    def binary(self) -> bytes:
        """The module of a component in WebAssembly, empty of one in Python."""
        path = self.manifest.wasm
        return self.assembled if path.endswith(".wat") else self.files.get(path, b"")

    def check(self) -> None:
        """Raise DigestError unless the files are those that the manifest says, no more, no less.

        What has a derived manifest says nothing of its files.
        """
        said = self.manifest.files
        if self.is_derived or (self.is_local and not said):
            return
        where = f"{self.address} ({self.manifest.name} {self.manifest.version})"
        if not said:
            raise DigestError(
                f"{where}: its aegis.toml says no digests of its files",
                hint="its owner writes them with `aegis sign`",
            )
        problems = []
        for path in sorted(said.keys() | set(self.paths)):
            if path not in self.files:
                problems.append(f"{path} is in the manifest and not in the source")
            elif path not in said:
                problems.append(f"{path} is in the source and not in the manifest")
            elif hashlib.sha256(self.files[path]).hexdigest() != said[path]:
                problems.append(f"{path} is not what the manifest says: its sha256")
        if problems:
            anew = "if its owner changed it, `aegis sign` writes the digests anew"
            more = f", and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
            raise DigestError(f"{where}: {'; '.join(problems[:SHOWN])}{more}", hint=anew)

    def source(self, libraries: Sequence[Library] = ()) -> Source:
        """What a loader makes a revision of: the code that is named, and all that it imports here.

        One named file in the manifest's own folder is the component; otherwise one that takes in
        what all of them have is. Of a module in WebAssembly the text is that of its .wat. Raises
        ManifestError for files that are missing, ComponentError for a module that is empty.
        """
        text, imports = code(self.manifest, Files(self.files), self.address)
        if self.manifest.wasm and not self.binary:
            raise ComponentError(self.manifest.name, [f"{self.manifest.wasm} is empty"])
        return Source.of(
            self.manifest.name,
            self.manifest.version,
            text,
            origin=self.address,
            imports=imports,
            manifest=None if self.is_derived else self.manifest,
            resolved=self.resolved,
            libraries=tuple(libraries),
            is_local=self.is_local,
            binary=self.binary,
        )

    @classmethod
    def of(cls, source: Source, address: str) -> Bundle:
        """The bundle of a component that a host has loaded, which is on this machine."""
        said = source.manifest
        files = {path: text.encode() for path, text in source.imports.items()}
        if said is None:
            ending = ".py" if not source.is_wasm else WASM[1] if source.text else WASM[0]
            path = f"{source.name}{ending}"
            said = Manifest(name=source.name, version=source.version, models=(path,))
        first, *others = said.code
        if not others:  # of several the text only imports them
            is_text = not first.endswith(WASM[0])
            files.setdefault(first, source.text.encode() if is_text else source.binary)
        return cls(
            # Only its code was kept, so the digests of all its files say nothing of these.
            manifest=msgspec.structs.replace(said, files={}),
            files=files,
            address=address,
            resolved=source.digest,
            is_local=True,
            is_derived=source.manifest is None,
            assembled=source.binary if first.endswith(WASM[1]) else b"",
        )


def code(manifest: Manifest, folder: Folder, where: str) -> tuple[str, Mapping[str, str]]:
    """A component's own text, and the texts of the files in its folder that belong to it, by path.

    Raises ManifestError for what is named and not there, ComponentError for what is no text.
    """
    named = manifest.code
    if not named:
        raise ManifestError(
            f"{where}: {FILE} names no file of code",
            hint='say models = ["orders.py"] in [component]',
        )
    missing = ", ".join(repr(path) for path in named if not folder.is_file(path))
    if missing:
        raise ManifestError(f"{where}: there is no {missing}, which {FILE} names")
    if manifest.wasm:
        return folder.text(manifest.wasm) if manifest.wasm.endswith(WASM[1]) else "", {}
    if len(named) == 1 and "/" not in named[0]:
        text = folder.text(named[0])
        return text, Closure(folder, named[0].removesuffix(".py")).of(text)
    modules = [path.removesuffix(".py").removesuffix("/__init__").split("/") for path in named]
    for path, parts in zip(named, modules, strict=True):
        if not all(part.isidentifier() and not iskeyword(part) for part in parts):
            raise ManifestError(
                f"{where}: {path!r} cannot be imported by its name", hint="use letters and _"
            )
    text = "".join(f"from {'.'.join(parts)} import *\n" for parts in modules)
    return text, Closure(folder).of(text)


def belonging(manifest: Manifest, folder: Folder, where: str) -> Sequence[str]:
    """The paths of the files that make a component: those it names and imports, and its wheels.

    Sorted, without the manifest and its signature. Raises as `code` does.
    """
    _, imports = code(manifest, folder, where)
    wheels = {
        dependency.wheel
        for dependency in manifest.dependencies.values()
        if dependency.wheel is not None and is_inside(dependency.wheel)
    }
    for path in sorted(wheels):
        if not folder.is_file(path):
            raise ManifestError(f"{where}: there is no {path!r}, which {FILE} names")
    return sorted({*manifest.code, *imports, *wheels})

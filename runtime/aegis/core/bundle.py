"""A component as it was fetched: its manifest and its files, and where they are from."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import PurePosixPath

from aegis.core.component import Library, Source
from aegis.core.errors import DigestError, ManifestError
from aegis.core.manifest import FILE, SIGNATURE, Manifest


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
    files have the manifest's own bytes and the signature, where there are such.
    """

    manifest: Manifest
    files: Mapping[str, bytes]
    address: str
    resolved: str = ""
    is_local: bool = False
    is_derived: bool = False
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
        for path in sorted(said.keys() | set(self.paths)):
            if path not in self.files:
                raise DigestError(f"{where}: {path} is in the manifest and not in the source")
            if path not in said:
                raise DigestError(f"{where}: {path} is in the source and not in the manifest")
            if hashlib.sha256(self.files[path]).hexdigest() != said[path]:
                raise DigestError(f"{where}: {path} is not what the manifest says: its sha256")

    def source(self, libraries: Sequence[Library] = ()) -> Source:
        """What a loader makes a revision of. Raises ManifestError for files that are missing.

        One named file is the component; of several, one that takes in what all of them have is.
        """
        named = self.manifest.code
        missing = [path for path in named if path not in self.files]
        if missing:
            raise ManifestError(f"{self.address}: there is no {missing[0]!r}, which {FILE} names")
        if not named:
            raise ManifestError(
                f"{self.address}: {FILE} names no Python file",
                hint='say models = ["orders.py"] in [component]',
            )
        texts = {
            path: self._text(path)
            for path in self.paths
            if path.endswith(".py") and path != (named[0] if len(named) == 1 else None)
        }
        if len(named) == 1:
            text = self._text(named[0])
        else:
            modules = (".".join(PurePosixPath(path).with_suffix("").parts) for path in named)
            text = "".join(f"from {module} import *\n" for module in modules)
        return Source.of(
            self.manifest.name,
            self.manifest.version,
            text,
            origin=self.address,
            imports=texts,
            manifest=self.manifest,
            resolved=self.resolved,
            libraries=tuple(libraries),
            is_local=self.is_local,
        )

    def _text(self, path: str) -> str:
        try:
            return self.files[path].decode("utf-8")
        except UnicodeDecodeError as error:
            raise ManifestError(f"{self.address}: {path} is not UTF-8: {error}") from None

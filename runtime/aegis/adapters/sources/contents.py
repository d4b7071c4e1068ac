"""What is in a source: the components of a folder, a file, a notebook, a zip or a wheel."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from aegis.adapters.sources.archive import of_wheel, unzipped, without_top
from aegis.adapters.sources.notebook import NotebookError, components_of, has_components
from aegis.adapters.sources.tree import Limits, Tree
from aegis.core.address import ARCHIVES, BOOK, CODE, Address
from aegis.core.bundle import Bundle, belonging
from aegis.core.code import (
    SAYS_VERSION,
    Closure,
    may_be_module,
    named,
    parsed,
    text_of,
    version_of,
)
from aegis.core.errors import DigestError, InvalidError, ManifestError, TrustError, closest
from aegis.core.manifest import FILE, SIGNATURE, VERSION, WASM, Manifest, read_manifest
from aegis.core.wat import whole
from aegis.protocols import Loader


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What was found at an address: a file `entry` in a tree, or without one the tree as a whole.

    `resolved` is what the address was then; `is_local` that it is on this machine, `is_sent` that
    somebody else sent it there. `loader` asks modules in WebAssembly what they are.
    """

    address: Address
    tree: Tree
    entry: str = ""
    resolved: str = ""
    is_local: bool = False
    is_sent: bool = False
    loader: Loader | None = None

    def bundles(self, limits: Limits) -> Sequence[Bundle]:
        """The components that the address means, checked against what it and they say.

        Raises InvalidError for a choice that there is not, ManifestError, DigestError, TrustError
        for a module that says nothing unless it is run, and ComponentError for code that says no
        version, or cannot be read.
        """
        pinned = self.address.sha256
        if pinned and self.entry:
            found = hashlib.sha256(self.tree.content(self.entry)).hexdigest()
            if found != pinned:
                raise DigestError(f"{self.address}: it has another sha256: {found}")
        bundles = self._found(limits)
        chosen = self.address.component
        if chosen and not bundles:
            raise InvalidError(f"{self.address} has no component")
        if chosen and chosen not in bundles:
            raise InvalidError(
                f"{self.address}: there is no component {chosen!r}; it has {', '.join(bundles)}",
                hint=closest(chosen, bundles),
            )
        made = [bundles[chosen]] if chosen else list(bundles.values())
        for bundle in made:
            bundle.check()
        if pinned and not self.entry and [bundle.digest for bundle in made] != [pinned]:
            raise DigestError(
                f"{self.address}: it has another sha256: "
                + (made[0].digest if len(made) == 1 else f"there are {len(made)} components"),
            )
        return made

    def _found(self, limits: Limits) -> Mapping[str, Bundle]:
        """The components by name; of several files only the one that is chosen is read."""
        where = str(self.address)
        if self.entry.endswith(ARCHIVES):
            tree = unzipped(self.tree.content(self.entry), where, limits)
            is_wheel = self.entry.endswith(".whl")
            tree = of_wheel(tree, where) if is_wheel else without_top(tree)
            return self._folder(tree)
        if not self.entry:
            return self._folder(self.tree)
        content = self.tree.content(self.entry)
        if self.entry.endswith(WASM):
            return _by_name([self._module(self.tree, self.entry)])
        if self.entry.endswith(BOOK) or has_components(content):
            return self._notebook(content)
        bundle = self._file(self.tree, self.entry)
        return {bundle.manifest.name: bundle}

    def _folder(self, tree: Tree) -> Mapping[str, Bundle]:
        """The component that an aegis.toml describes, or those of all files that say a version."""
        where = str(self.address)
        manifest = None
        if tree.is_file(FILE):
            manifest = read_manifest(tree.content(FILE), f"{where}: {FILE}")
        if manifest is not None:
            return {manifest.name: self._described(tree, manifest)}
        files = [
            name
            for name in tree.names()
            if name.endswith(CODE) and name[0] not in "._" and _says_version(tree.content(name))
        ]
        chosen = f"{self.address.component}{CODE}"
        # The others may be broken: they are nobody's concern here.
        wanted = [chosen] if chosen in files else files
        found = [self._file(tree, name) for name in wanted]
        if chosen not in files and (self._may_run or not found):
            found += [self._module(tree, name) for name in _modules(tree)]
        if not found:
            raise ManifestError(
                f"{where} has no component: no [component] in an {FILE}, and no file that says a "
                "__version__",
                hint="`aegis new` makes one to look at",
            )
        return _by_name(found)

    def _described(self, tree: Tree, manifest: Manifest) -> Bundle:
        """The component that a manifest describes: what it names and imports, and what it lists."""
        where = str(self.address)
        for path in manifest.code if len(manifest.code) == 1 else ():
            if tree.is_file(path) and _says_version(tree.content(path)):
                name = manifest.name
                said = version_of(parsed(tree.text(path), name, path), name, path)
                if said != manifest.version:
                    raise ManifestError(
                        f"{where}: {FILE} says version {manifest.version}, and {path} says {said}"
                    )
        paths = {*belonging(manifest, tree, where)}
        paths |= {path for path in (*manifest.files, SIGNATURE) if tree.is_file(path)}
        files = {path: tree.content(path) for path in sorted({FILE, *paths})}
        return self._bundle(manifest, files, is_derived=False)

    def _module(self, tree: Tree, path: str) -> Bundle:
        """The component in a module with nothing beside it, which says its name when it is run."""
        shown, loader = self._shown(path), self._loader
        if not self._may_run:
            raise TrustError(
                f"{shown}: what it is only its code tells, and nothing says that it may run here",
                hint=f"write #sha256= with its digest behind the address; or have an {FILE} beside "
                "it name it, `aegis sign` that, and say the address of the folder",
            )
        content = tree.content(path)
        if path.endswith(WASM[1]):
            content = loader.assemble(tree.text(path), PurePosixPath(path).stem)
        said = loader.describe(content, shown)
        manifest = Manifest(name=said.name, version=said.version, models=(path,))
        return self._bundle(manifest, {path: tree.content(path)}, is_derived=True)

    @property
    def _may_run(self) -> bool:
        """Whether code may run, in its sandbox, before somebody says who signed it."""
        own = self.is_local and not self.is_sent
        return own or bool(self.address.sha256 and self.entry)

    @property
    def _loader(self) -> Loader:
        if self.loader is None:
            raise InvalidError(
                f"{self.address}: this reads no WebAssembly", hint="it was built without a loader"
            )
        return self.loader

    def _file(self, tree: Tree, path: str) -> Bundle:
        """The component in a file that says its version, with what it imports from beside it."""
        stem, shown = path.removesuffix(CODE), self._shown(path)
        syntax = parsed(tree.text(path), stem, shown)
        closure = Closure(tree, stem)
        closure.follow(syntax)
        manifest = Manifest(
            name=named(stem, shown), version=version_of(syntax, stem, shown), models=(path,)
        )
        files = {name: tree.content(name) for name in (*closure.files, path)}
        return self._bundle(manifest, files, is_derived=True)

    def _notebook(self, content: bytes) -> Mapping[str, Bundle]:
        """The components in the cells of a notebook, with what they import from beside it."""
        where = str(self.address)
        cells = components_of(content, self._shown(self.entry))
        if not cells:
            raise NotebookError(
                f"{where} has no component",
                hint="a cell is one that says %%component NAME VERSION, or %%wat",
            )
        found = {}
        for name, cell in cells.items():
            shown = f"{where}: {cell.cell.label}"
            if not VERSION.match(cell.version):
                raise ManifestError(
                    f"{shown}: {cell.version!r} is no version", hint="write it as 1.2.0"
                )
            path = f"{name}{WASM[1] if cell.is_wat else CODE}"
            manifest = Manifest(name=named(name, shown), version=cell.version, models=(path,))
            if cell.is_wat:
                files = {path: whole(cell.text, name, cell.version).encode()}
            else:
                closure = Closure(self.tree, name)
                closure.follow(parsed(cell.text, name, shown))
                beside = {other: self.tree.content(other) for other in closure.files}
                files = {**beside, path: cell.text.encode()}
            found[name] = self._bundle(manifest, files, is_derived=True)
        return found

    def _bundle(
        self, manifest: Manifest, files: Mapping[str, bytes], *, is_derived: bool
    ) -> Bundle:
        assembled, path = b"", manifest.wasm
        if path.endswith(WASM[1]):
            text = text_of(files[path], path)
            assembled = self._loader.assemble(text, manifest.name, manifest.version)
        return Bundle(
            manifest=manifest,
            files=files,
            address=str(self.address),
            resolved=self.resolved,
            is_local=self.is_local,
            is_derived=is_derived,
            assembled=assembled,
        )

    def _shown(self, path: str) -> str:
        """How messages name a file: the address, where that is the file's own."""
        said = str(replace(self.address, component="", sha256=""))
        return said if said.endswith(path) else f"{said}: {path}"


def _modules(tree: Tree) -> Sequence[str]:
    """The modules of a folder that may be components; of a text and what it became, the text."""
    names = [name for name in tree.names() if name.endswith(WASM) and name[0] not in "._"]
    return [
        name
        for name in names
        if f"{name.removesuffix(WASM[0])}{WASM[1]}" not in names
        and may_be_module(tree.content(name))
    ]


def _by_name(bundles: Sequence[Bundle]) -> Mapping[str, Bundle]:
    """Bundles by the name of their component. Raises InvalidError for two of one name."""
    found: dict[str, Bundle] = {}
    for bundle in bundles:
        name = bundle.manifest.name
        if name in found:
            (one,), (other,) = found[name].manifest.code, bundle.manifest.code
            raise InvalidError(
                f"{bundle.address}: {one} and {other} are both {name}", hint="name the file"
            )
        found[name] = bundle
    return found


def _says_version(content: bytes) -> bool:
    return bool(SAYS_VERSION.search(content.decode("utf-8", "replace")))

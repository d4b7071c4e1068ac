"""What is in a source: the components of a folder, a file, a notebook, a zip or a wheel."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from aegis.adapters.sources.archive import of_wheel, unzipped, without_top
from aegis.adapters.sources.notebook import NotebookError, components_of, has_components
from aegis.adapters.sources.tree import Limits, Tree
from aegis.core.address import ARCHIVES, BOOK, CODE, Address
from aegis.core.bundle import Bundle, belonging
from aegis.core.code import SAYS_VERSION, Closure, named, parsed, version_of
from aegis.core.errors import DigestError, InvalidError, ManifestError, closest
from aegis.core.manifest import FILE, SIGNATURE, VERSION, Manifest, read_manifest


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What was found at an address: a file `entry` in a tree, or without one the tree as a whole.

    `resolved` is what the address was then; `is_local` that it is on this machine.
    """

    address: Address
    tree: Tree
    entry: str = ""
    resolved: str = ""
    is_local: bool = False

    def bundles(self, limits: Limits) -> Sequence[Bundle]:
        """The components that the address means, checked against what it and they say.

        Raises InvalidError for a choice that there is not, ManifestError, DigestError, and
        ComponentError for code that says no version, or cannot be read.
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
        if not found:
            raise ManifestError(
                f"{where} has no component: no [component] in an {FILE}, and no file that says a "
                "__version__",
                hint="`aegis new` makes one to look at",
            )
        return {bundle.manifest.name: bundle for bundle in found}

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
                f"{where} has no component", hint="a cell is one that says %%component NAME VERSION"
            )
        found = {}
        for name, cell in cells.items():
            shown = f"{where}: {cell.cell.label}"
            if not VERSION.match(cell.version):
                raise ManifestError(
                    f"{shown}: {cell.version!r} is no version", hint="write it as 1.2.0"
                )
            closure = Closure(self.tree, name)
            closure.follow(parsed(cell.text, name, shown))
            path = f"{name}{CODE}"
            manifest = Manifest(name=named(name, shown), version=cell.version, models=(path,))
            beside = {other: self.tree.content(other) for other in closure.files}
            files = {**beside, path: cell.text.encode()}
            found[name] = self._bundle(manifest, files, is_derived=True)
        return found

    def _bundle(
        self, manifest: Manifest, files: Mapping[str, bytes], *, is_derived: bool
    ) -> Bundle:
        return Bundle(
            manifest=manifest,
            files=files,
            address=str(self.address),
            resolved=self.resolved,
            is_local=self.is_local,
            is_derived=is_derived,
        )

    def _shown(self, path: str) -> str:
        """How messages name a file: the address, where that is the file's own."""
        said = str(replace(self.address, component="", sha256=""))
        return said if said.endswith(path) else f"{said}: {path}"


def _says_version(content: bytes) -> bool:
    return bool(SAYS_VERSION.search(content.decode("utf-8", "replace")))

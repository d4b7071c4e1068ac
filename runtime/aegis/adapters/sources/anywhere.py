"""Fetches components from wherever an address says they are."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote, unquote

from aegis.adapters.sources.archive import untarred
from aegis.adapters.sources.cache import Cache
from aegis.adapters.sources.client import Client, Session
from aegis.adapters.sources.contents import Contents
from aegis.adapters.sources.forges import api_of
from aegis.adapters.sources.releases import chosen, offers
from aegis.adapters.sources.tree import Directory, Limits, MemoryTree
from aegis.core.address import COMMIT, ENDINGS, FORGES, Address, Forge, parse
from aegis.core.bundle import UPLOAD, Bundle, Offer
from aegis.core.errors import (
    AegisError,
    DigestError,
    InvalidError,
    ManifestError,
    SourceError,
    closest,
)
from aegis.core.manifest import DIGEST, FILE, SIGNATURE, read_manifest
from aegis.core.moving import Progress
from aegis.protocols import Loader, Sources

PIN = "sha256="


class Anywhere(Sources):
    """All sources of one host.

    `directory` is what its paths are relative to, the working directory without. `forges` are the
    servers of repositories by the names that addresses begin with. What is fetched is kept in
    `folder`, in memory without. `loader` asks modules in WebAssembly what they are.
    """

    def __init__(
        self,
        *,
        directory: Path | None = None,
        forges: Mapping[str, Forge] = FORGES,
        folder: Path | None = None,
        limits: Limits | None = None,
        loader: Loader | None = None,
    ) -> None:
        self._directory = directory
        self._forges = forges
        self._limits = limits or Limits()
        self._cache = Cache(folder)
        self._client = Client(self._limits)
        self._loader = loader

    async def offers(self, address: str) -> Sequence[Offer]:
        """The versions that the tags of a repository name, oldest first; see protocols."""
        asked = parse(address, self._forges)
        if asked.kind != "repository":
            return ()
        async with self._client.session(address) as session:
            tags = await api_of(self._forges[asked.scheme], asked).tags(session)
        return offers(tags, asked)

    async def fetch(
        self, address: str, *, at: str = "", told: Progress | None = None
    ) -> Sequence[Bundle]:
        """The components at an address; see protocols."""
        asked = parse(address, self._forges)
        if asked.kind == "cell":
            raise InvalidError(f"{address} is in a running host, and this is none")
        version = ""
        if asked.kind == "file":
            found = await asyncio.to_thread(self._local, asked)
        elif asked.kind == "repository":
            found, version = await self._repository(asked, at, told)
        else:
            found = await self._web(asked, at, told)
        # Reading takes time: files, zips, syntax.
        bundles = await asyncio.to_thread(found.bundles, self._limits)
        said = bundles[0].manifest.version
        if version and len(bundles) == 1 and said != version:
            raise ManifestError(
                f"{address}: the tag says version {version}, and the component {said}",
                hint="its owner tags the commit that says so",
            )
        return bundles

    async def unpack(self, packed: bytes) -> Sequence[Bundle]:
        """The components in a zip that somebody sent; see protocols."""
        name = "upload.zip"
        tree = MemoryTree({name: packed}, where=name)
        # Whether it needs digests and a signature is for whoever trusts it to say.
        found = Contents(
            address=Address(kind="file", place=name),
            tree=tree,
            entry=name,
            is_local=True,
            is_sent=True,
            loader=self._loader,
        )
        bundles = await asyncio.to_thread(found.bundles, self._limits)
        return [
            replace(one, address=f"{UPLOAD}{one.manifest.name}", is_local=False) for one in bundles
        ]

    # --- this machine -------------------------------------------------------------------------

    def _local(self, asked: Address) -> Contents:
        try:
            path = (self._directory or Path.cwd()) / Path(asked.place).expanduser()
            is_folder, is_file = path.is_dir(), path.is_file()
        except (OSError, RuntimeError) as error:
            raise SourceError(f"{asked.place} cannot be read: {error}") from None
        if is_file and path.name == FILE:
            path, is_folder = path.parent, True
        if not is_folder and not is_file:
            near = [one.name for one in path.parent.iterdir()] if path.parent.is_dir() else []
            raise SourceError(f"there is no {path}", hint=closest(path.name, near))
        if is_file and path.suffix not in ENDINGS:
            raise InvalidError(
                f"{path} is no file that can hold a component", hint=f"one ends in {_ENDINGS}"
            )
        tree = Directory(path if is_folder else path.parent, self._limits)
        entry = "" if is_folder else path.name
        return Contents(address=asked, tree=tree, entry=entry, is_local=True, loader=self._loader)

    # --- repositories -------------------------------------------------------------------------

    async def _commit(self, session: Session, asked: Address) -> tuple[str, str]:
        """The commit that is meant now, and the version that its tag names, empty for none."""
        api = api_of(self._forges[asked.scheme], asked)
        if asked.is_commit:
            return asked.ref, ""
        if asked.range is None:
            return await api.commit(session, asked.ref), ""
        tags = await api.tags(session)
        offer = chosen(tags, asked)
        return tags[offer.ref], offer.version

    async def _repository(
        self, asked: Address, at: str, told: Progress | None
    ) -> tuple[Contents, str]:
        if at and not COMMIT.match(at):
            raise InvalidError(f"{asked}: {at!r} is no commit", hint="its whole id, 40 hex digits")
        api = api_of(self._forges[asked.scheme], asked)
        commit, version = at or (asked.ref if asked.is_commit else ""), ""
        tree = await self._kept(asked, api.archive_url(commit)) if commit else None
        if tree is None:
            try:
                async with self._client.session(str(asked), told) as session:
                    if not commit:
                        commit, version = await self._commit(session, asked)
                        tree = await self._kept(asked, api.archive_url(commit))
                    if tree is None:
                        packed = await api.archive(session, commit)
                        tree = await asyncio.to_thread(untarred, packed, str(asked), self._limits)
                        url = api.archive_url(commit)
                        await asyncio.to_thread(self._cache.note, url, packed)
            except SourceError as error:
                if commit and self._cache.had(api.archive_url(commit)):
                    raise _damaged(asked, error) from None
                raise
        tree = tree.below(asked.folder)
        found = Contents(
            address=asked, tree=tree, entry=asked.entry, resolved=commit, loader=self._loader
        )
        return found, version

    async def _kept(self, asked: Address, url: str) -> MemoryTree | None:
        """The files of a commit that was fetched before, None when it has to be fetched anew."""
        packed = await asyncio.to_thread(self._cache.found, url)
        if packed is None:
            return None
        return await asyncio.to_thread(untarred, packed, str(asked), self._limits)

    # --- the web ------------------------------------------------------------------------------

    async def _web(self, asked: Address, at: str, told: Progress | None) -> Contents:
        digest = at.removeprefix(PIN)
        if at and not (at.startswith(PIN) and DIGEST.match(digest)):
            raise InvalidError(f"{asked}: {at!r} is no digest", hint=f"{PIN} and 64 hex digits")
        if asked.place.endswith("/"):
            return await self._listed(asked, digest, told)
        name = unquote(asked.place.rpartition("/")[2])
        wanted = digest or asked.sha256
        content = await self._had(wanted) if wanted else None
        if content is None:
            async with self._client.session(str(asked), told) as session:
                content = await self._there(session, asked.place, wanted)
            found = await asyncio.to_thread(self._cache.put, content)
            _check_digest(str(asked), wanted, found)
            wanted = found
        tree = MemoryTree({name: content}, where=str(asked))
        return Contents(
            address=asked, tree=tree, entry=name, resolved=f"{PIN}{wanted}", loader=self._loader
        )

    async def _listed(self, asked: Address, digest: str, told: Progress | None) -> Contents:
        """The files of a folder on the web, which its aegis.toml lists with their digests."""
        is_pinned = bool(digest)
        async with self._client.session(str(asked), told) as session:
            said = await self._had(digest) if digest else None
            if said is None:
                said = await self._there(session, asked.place + FILE, digest)
                found = await asyncio.to_thread(self._cache.put, said)
                _check_digest(f"{asked}: {FILE}", digest, found)
                digest = found
            manifest = await asyncio.to_thread(read_manifest, said, f"{asked}: {FILE}")
            if manifest is None or not manifest.files:
                raise ManifestError(
                    f"{asked}: its {FILE} lists no files with their digests",
                    hint="`aegis sign` writes them into [component.files]",
                )
            if len(manifest.files) > self._limits.files:
                raise ManifestError(f"{asked}: it lists more than {self._limits.files:,} files")
            turns = asyncio.Semaphore(self._limits.at_once)
            files = {FILE: said}

            async def take(path: str, wanted: str) -> None:
                async with turns:
                    content = await self._had(wanted)
                    if content is None:
                        content = await self._there(session, asked.place + quote(path), wanted)
                        found = await asyncio.to_thread(self._cache.put, content)
                        _check_digest(f"{asked}: {path}", wanted, found)
                files[path] = content

            async def sign() -> None:
                key = f"{asked.place}{SIGNATURE}#{digest}"
                # Asked for anew where the newest is wanted: it may have been signed since.
                content = await asyncio.to_thread(self._cache.found, key) if is_pinned else None
                if content is None:
                    answer = await session.get(asked.place + SIGNATURE)
                    content = answer.content if answer.status == 200 else b""
                    await asyncio.to_thread(self._cache.note, key, content)
                if content:
                    files[SIGNATURE] = content

            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(sign())
                    for path, wanted in manifest.files.items():
                        tasks.create_task(take(path, wanted))
            except* AegisError as failed:
                raise _first(failed) from None
        tree = MemoryTree(files, where=str(asked))
        return Contents(address=asked, tree=tree, resolved=f"{PIN}{digest}", loader=self._loader)

    async def _there(self, session: Session, url: str, digest: str) -> bytes:
        """What is at a URL, meant to have a digest. Raises SourceError when nothing is."""
        try:
            answer = await session.get(url)
        except SourceError as error:
            if digest and self._cache.had(digest):
                raise _damaged(url, error) from None
            raise
        if answer.status == 404:
            raise SourceError(f"there is no {url}")
        return answer.content

    async def _had(self, digest: str) -> bytes | None:
        return await asyncio.to_thread(self._cache.get, digest)


_ENDINGS = ", ".join(ENDINGS)


def _check_digest(what: str, wanted: str, found: str) -> None:
    if wanted and found != wanted:
        raise DigestError(f"{what}: it has another sha256: {found}, and {wanted} was meant")


def _damaged(what: object, error: SourceError) -> SourceError:
    return SourceError(f"what was kept of {what} is damaged, and cannot be fetched anew: {error}")


def _first(failed: BaseExceptionGroup[AegisError]) -> AegisError:
    """One of the errors of a group: all of them are of one fetch."""
    for error in failed.exceptions:
        return _first(error) if isinstance(error, BaseExceptionGroup) else error
    raise failed

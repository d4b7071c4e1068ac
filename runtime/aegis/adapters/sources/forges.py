"""Servers of repositories, by the HTTP API that each speaks: tags, commits, a commit's files."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, ClassVar
from urllib.parse import quote

import msgspec

from aegis.adapters.sources.client import Answer, Session
from aegis.core.address import COMMIT, Address, Forge
from aegis.core.errors import SourceError

HEAD = "HEAD"
PAGE = 100  # tags asked for at once


class Api(ABC):
    """What a fetch asks of a server of repositories, in as few requests as it takes."""

    def __init__(self, forge: Forge, address: Address) -> None:
        self.forge = forge
        self.address = address

    async def tags(self, session: Session) -> Mapping[str, str]:
        """The commit of each tag, by its name. Raises SourceError."""
        found: dict[str, str] = {}
        for page in range(1, session.limits.pages + 1):
            answer = await self._checked(session.ask, self._tags_url(page))
            for tag in self._json(answer, list[dict[str, Any]]):
                found[str(tag.get("name"))] = self._commit_of(tag.get("commit"))
            if 'rel="next"' not in answer.headers.get("link", ""):
                return found
        raise SourceError(
            f"{self.address}: it has more than {session.limits.pages} pages of tags",
            hint="say a branch or a commit",
        )

    async def commit(self, session: Session, ref: str) -> str:
        """The commit that a branch or tag is now, or the default branch for none.

        Raises SourceError.
        """
        said = self._json(
            await self._checked(session.ask, self._commit_url(ref or HEAD), ref), object
        )
        return self._commit_of(said[0] if isinstance(said, list) and said else said)

    async def archive(self, session: Session, commit: str) -> bytes:
        """The files of a commit as a tarball. Raises SourceError."""
        return (await self._checked(session.get, self.archive_url(commit), commit)).content

    @abstractmethod
    def archive_url(self, commit: str) -> str:
        """Where the files of a commit are, for good."""

    @abstractmethod
    def _tags_url(self, page: int) -> str: ...

    @abstractmethod
    def _commit_url(self, ref: str) -> str: ...

    # What a commit's id is called in answers.
    _id: ClassVar[str] = "sha"

    def _secret(self, token: str) -> Mapping[str, str]:
        return {"Authorization": f"Bearer {token}"}

    async def _checked(
        self, ask: Callable[..., Awaitable[Answer]], url: str, ref: str = ""
    ) -> Answer:
        """The answer to a question, with the token. Raises SourceError when there is no such."""
        token = self.forge.token
        answer = await ask(url, secret=None if token is None else self._secret(token.reveal()))
        if answer.status == 404:
            what = f"{self.address.scheme}:{self.address.place}"
            raise SourceError(
                f"there is no {ref!r} in {what}" if ref else f"there is no {what}, or not for all",
                hint=None
                if token
                else f"what is private needs [sources.{self.address.scheme}] token",
            )
        return answer

    def _commit_of(self, said: object) -> str:
        commit = said.get(self._id) if isinstance(said, dict) else None
        if not isinstance(commit, str) or not COMMIT.match(commit):
            raise SourceError(f"{self.address}: {self.forge.api} names no commit in its answer")
        return commit

    def _json(self, answer: Answer, shape: Any) -> Any:
        try:
            return msgspec.json.decode(answer.content, type=shape)
        except (msgspec.DecodeError, RecursionError) as error:
            raise SourceError(
                f"{self.address}: what {self.forge.api} answers cannot be read: {error}",
                hint="is api in [sources.NAME] the address of its API?",
            ) from None


class GitHub(Api):
    """GitHub, and GitHub Enterprise Server."""

    @property
    def _repository(self) -> str:
        return f"{self.forge.api}/repos/{self.address.place}"

    def archive_url(self, commit: str) -> str:
        """Redirects to a server of its own."""
        return f"{self._repository}/tarball/{commit}"

    def _tags_url(self, page: int) -> str:
        return f"{self._repository}/tags?per_page={PAGE}&page={page}"

    def _commit_url(self, ref: str) -> str:
        return f"{self._repository}/commits/{quote(ref)}"


class GitLab(Api):
    """GitLab, and whoever runs one."""

    _id = "id"

    @property
    def _repository(self) -> str:
        project = quote(self.address.place, safe="")
        return f"{self.forge.api}/projects/{project}/repository"

    def archive_url(self, commit: str) -> str:
        """Only the folder that is asked for."""
        folder = self.address.folder
        path = f"&path={quote(folder)}" if folder else ""
        return f"{self._repository}/archive.tar.gz?sha={commit}{path}"

    def _tags_url(self, page: int) -> str:
        return f"{self._repository}/tags?per_page={PAGE}&page={page}"

    def _commit_url(self, ref: str) -> str:
        return f"{self._repository}/commits/{quote(ref, safe='')}"


class Gitea(Api):
    """Gitea and Forgejo, as on Codeberg."""

    @property
    def _repository(self) -> str:
        return f"{self.forge.api}/repos/{self.address.place}"

    def _secret(self, token: str) -> Mapping[str, str]:
        return {"Authorization": f"token {token}"}

    def archive_url(self, commit: str) -> str:
        """All files of the commit."""
        return f"{self._repository}/archive/{commit}.tar.gz"

    def _tags_url(self, page: int) -> str:
        return f"{self._repository}/tags?limit={PAGE // 2}&page={page}"

    def _commit_url(self, ref: str) -> str:
        # By query, where a branch may have a slash; `HEAD` is what it has without.
        which = "" if ref == HEAD else f"sha={quote(ref, safe='')}&"
        return (
            f"{self._repository}/commits?{which}limit=1&stat=false&verification=false&files=false"
        )


APIS: Mapping[str, type[Api]] = {"github": GitHub, "gitlab": GitLab, "gitea": Gitea}


def api_of(forge: Forge, address: Address) -> Api:
    """Who is asked for an address."""
    return APIS[forge.kind](forge, address)

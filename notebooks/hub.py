"""A server of repositories for tests and the tutorial: it speaks the APIs of three others.

    with Hub() as hub:
        orders = hub.repo("acme/orders")
        orders.commit({"orders.py": "..."}, tag="v1.2.0")
        hub.github, hub.gitlab, hub.gitea       # the bases of its APIs, for [sources.NAME] api
        hub.files("orders.whl", content)        # at hub.url + "/files/orders.whl"

It keeps everything in memory, answers on a port of this machine, counts what it was asked
(`hub.asked`), and can behave badly: `hub.fail("*/tarball/*", stall=True)`.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatch
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import PurePosixPath
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, quote, unquote, urlsplit

PREFIXES = ("/github", "/gitlab/api/v4", "/gitea/api/v1")


@dataclass(frozen=True)
class Link:
    """A file of a repository that is a symbolic link."""

    target: str


@dataclass(frozen=True)
class Submodule:
    """A folder of a repository whose files are in another one."""


Content = str | bytes | Link | Submodule
Files = Mapping[str, Content]


class Repo:
    """A repository: what its branches and tags are, and what each commit has."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.branches: dict[str, str] = {}
        self.tags: dict[str, str] = {}
        self.default = "main"
        self._commits: dict[str, dict[str, Content]] = {}

    def commit(
        self, files: Mapping[str, Content | None], *, tag: str = "", branch: str = "main"
    ) -> str:
        """Change files on a branch (None takes one out), and tag that; the id of the commit."""
        parent = self.branches.get(branch) or self.branches.get(self.default, "")
        changed = {**self._commits.get(parent, {}), **files}
        whole = {path: content for path, content in changed.items() if content is not None}
        text = repr((self.name, len(self._commits), parent, sorted(whole.items(), key=repr)))
        commit = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
        self._commits[commit] = whole
        self.branches[branch] = commit
        if tag:
            self.tags[tag] = commit
        return commit

    def find(self, ref: str) -> str | None:
        """The commit that a ref is: a branch, a tag, the start of a commit's id, or HEAD."""
        if ref == "HEAD":
            ref = self.default
        for known in (self.branches, self.tags):
            for start in ("", "heads/", "refs/heads/", "tags/", "refs/tags/"):
                if ref.startswith(start) and ref[len(start) :] in known:
                    return known[ref[len(start) :]]
        found = [one for one in self._commits if len(ref) >= 7 and one.startswith(ref)]
        return found[0] if len(found) == 1 else None

    def files(self, commit: str) -> Files:
        """All files of a commit."""
        return self._commits[commit]

    def tarball(self, commit: str, below: str = "") -> bytes:
        """The files of a commit as git packs them: all in one folder."""
        packed = io.BytesIO()
        top = f"{self.name.replace('/', '-')}-{commit[:7]}"
        with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive:
            folders = {top}
            for path, content in sorted(self._commits[commit].items()):
                if below and not path.startswith(f"{below}/"):
                    continue
                for above in reversed(PurePosixPath(f"{top}/{path}").parents):
                    if str(above) not in {".", *folders}:
                        folders.add(str(above))
                        archive.addfile(_entry(str(above), tarfile.DIRTYPE))
                name = f"{top}/{path}"
                if isinstance(content, Link):
                    link = _entry(name, tarfile.SYMTYPE)
                    link.linkname = content.target
                    archive.addfile(link)
                elif isinstance(content, Submodule):
                    archive.addfile(_entry(name, tarfile.DIRTYPE))
                else:
                    data = content.encode() if isinstance(content, str) else content
                    entry = _entry(name, tarfile.REGTYPE)
                    entry.size = len(data)
                    archive.addfile(entry, io.BytesIO(data))
        return gzip.compress(packed.getvalue(), mtime=0)


@dataclass(kw_only=True)
class Failure:
    """How the server behaves to a path, for the next `times` requests (always with None).

    It answers with `status` and `headers` instead, or with `body`; it can `stall` in the middle of
    the answer, `cut` it there, or wait `delay` seconds before it.
    """

    path: str
    times: int | None = None
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    stall: bool = False
    cut: bool = False
    delay: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A request that came in: its path with the query, and its headers by lower-case name."""

    path: str
    headers: Mapping[str, str]


class Hub:
    """The server; it runs in threads of its own from `open` (or `with`) to `close`.

    `token`, where it is set, is what callers of its APIs must show.
    """

    def __init__(self, port: int = 0) -> None:
        self._port = port
        self.token: str | None = None
        self.asked: list[Asked] = []
        self._repos: dict[str, Repo] = {}
        self._files: dict[str, bytes] = {}
        self._failures: list[Failure] = []
        self._closing = threading.Event()
        self._server: ThreadingHTTPServer | None = None

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def open(self) -> Self:
        """Begin to answer."""
        hub = self

        class Handler(_Handler):
            """Answers for this hub."""

            server_hub = hub

        self._closing.clear()
        self._server = _Server(("127.0.0.1", self._port), Handler)
        self._port = self._server.server_address[1]
        threading.Thread(
            target=self._server.serve_forever, args=(0.02,), daemon=True, name="hub"
        ).start()
        return self

    def close(self) -> None:
        """Answer no more; what is kept here is there when it is opened again."""
        self._closing.set()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def github(self) -> str:
        """The base of its API that is like GitHub's."""
        return f"{self.url}/github"

    @property
    def gitlab(self) -> str:
        """The base of its API that is like GitLab's."""
        return f"{self.url}/gitlab/api/v4"

    @property
    def gitea(self) -> str:
        """The base of its API that is like Gitea's."""
        return f"{self.url}/gitea/api/v1"

    def repo(self, name: str) -> Repo:
        """The repository `acme/orders`, made when it is asked for first."""
        return self._repos.setdefault(name, Repo(name))

    def files(self, path: str, content: bytes | str) -> str:
        """Put a file on the plain web; its URL."""
        self._files[path] = content.encode() if isinstance(content, str) else content
        return f"{self.url}/files/{quote(path)}"

    def folder(self, path: str, files: Mapping[str, bytes | str]) -> str:
        """Put files on the plain web; the URL of their folder."""
        for name, content in files.items():
            self.files(f"{path}/{name}", content)
        return f"{self.url}/files/{quote(path)}/"

    def fail(self, path: str, **how: Any) -> Failure:
        """Behave badly to a path, which may have `*` in it; see Failure."""
        self._failures.append(Failure(path=path, **how))
        return self._failures[-1]

    def behave(self) -> None:
        """Fail no more, and forget what was asked."""
        self._failures.clear()
        self.asked.clear()

    # --- what it answers ----------------------------------------------------------------------

    def failure(self, path: str) -> Failure | None:
        """How to fail a request, if it is to."""
        for one in self._failures:
            if fnmatch(path, one.path) and one.times != 0:
                if one.times is not None:
                    one.times -= 1
                return one
        return None

    def wait(self, seconds: float) -> None:
        """Wait, but not longer than the server is open."""
        self._closing.wait(seconds)

    def answer(self, target: str) -> tuple[int, bytes, dict[str, str]]:
        """Status, body and further headers of what is asked for."""
        split = urlsplit(target)
        path, query = split.path, {k: v[-1] for k, v in parse_qs(split.query).items()}
        if path.startswith("/files/"):
            content = self._files.get(unquote(path.removeprefix("/files/")))
            return (404, b"not found", {}) if content is None else (200, content, {})
        for prefix, api in zip(PREFIXES, (self._github, self._gitlab, self._gitea), strict=True):
            if path.startswith(f"{prefix}/"):
                found = api(path.removeprefix(f"{prefix}/"), query)
                if isinstance(found, tuple):
                    return found
                if isinstance(found, bytes):
                    return 200, found, {"Content-Type": "application/gzip"}
                if found is None:
                    return 404, b'{"message": "Not Found"}', {}
                more = {"Content-Type": "application/json"}
                if isinstance(found, _Page) and found.has_next:
                    more["Link"] = f'<{self.url}{path}?page=next>; rel="next"'
                return 200, json.dumps(found).encode(), more
        if path.startswith("/codeload/"):
            name, _, commit = path.removeprefix("/codeload/").partition("/legacy/")
            return 200, self._repos[name].tarball(commit), {}
        return 404, b"not found", {}

    def _github(self, path: str, query: Mapping[str, str]) -> Any:
        parts = path.split("/")
        repo = self._repos.get("/".join(parts[1:3]))
        if parts[0] != "repos" or repo is None:
            return None
        match parts[3:]:
            case ["tags"]:
                return _page([_tag(name, {"sha": c}) for name, c in repo.tags.items()], query, 30)
            case ["commits", *ref]:
                commit = repo.find(unquote("/".join(ref)))
                return commit and {"sha": commit}
            case ["tarball", ref]:
                commit = repo.find(ref)
                where = f"{self.url}/codeload/{repo.name}/legacy/{commit}"
                return commit and (302, b"", {"Location": where})
        return None

    def _gitlab(self, path: str, query: Mapping[str, str]) -> Any:
        parts = path.split("/")
        repo = self._repos.get(unquote(parts[1])) if len(parts) > 3 else None
        if repo is None or parts[0] != "projects" or parts[2] != "repository":
            return None
        match parts[3:]:
            case ["tags"]:
                return _page([_tag(name, {"id": c}) for name, c in repo.tags.items()], query, 20)
            case ["commits", ref]:
                commit = repo.find(unquote(ref))
                return commit and {"id": commit, "short_id": commit[:8]}
            case ["archive.tar.gz"]:
                commit = repo.find(query.get("sha", "HEAD"))
                return commit and repo.tarball(commit, query.get("path", ""))
        return None

    def _gitea(self, path: str, query: Mapping[str, str]) -> Any:
        parts = path.split("/")
        repo = self._repos.get("/".join(parts[1:3]))
        if parts[0] != "repos" or repo is None:
            return None
        match parts[3:]:
            case ["tags"]:
                found = [_tag(name, {"sha": commit}) for name, commit in repo.tags.items()]
                return _page(found, query, 30)
            case ["commits"]:
                commit = repo.find(query.get("sha", "HEAD"))
                return commit and [{"sha": commit}]
            case ["archive", name]:
                commit = repo.find(name.removesuffix(".tar.gz"))
                return commit and repo.tarball(commit)
        return None


def _entry(name: str, kind: bytes) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type = kind
    entry.mode = 0o755 if kind == tarfile.DIRTYPE else 0o644
    return entry


def _tag(name: str, commit: Mapping[str, str]) -> dict[str, Any]:
    return {"name": name, "commit": dict(commit)}


class _Page(list[Any]):
    """Some items of a list, and whether there are more."""

    has_next = False


def _page(items: list[Any], query: Mapping[str, str], usual: int) -> _Page:
    size = min(int(query.get("per_page", query.get("limit", usual))), 100)
    start = (int(query.get("page", "1")) - 1) * size
    page = _Page(items[start : start + size])
    page.has_next = start + size < len(items)
    return page


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Whoever went away in the middle of an answer is nobody's concern."""


class _Handler(BaseHTTPRequestHandler):
    server_hub: Hub
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        """Answer, or fail as the hub was told to."""
        hub = self.server_hub
        headers = {name.lower(): value for name, value in self.headers.items()}
        hub.asked.append(Asked(path=self.path, headers=headers))
        said = headers.get("authorization", "").rpartition(" ")[2]
        failure = hub.failure(self.path)
        if hub.token is not None and self.path.startswith(PREFIXES) and said != hub.token:
            status, body, more = 401, b'{"message": "Bad credentials"}', dict[str, str]()
        else:
            status, body, more = hub.answer(self.path)
        tag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
        if status == 200 and self.path.startswith(PREFIXES):
            more = {**more, "ETag": tag}
            if headers.get("if-none-match") == tag:
                status, body = 304, b""
        if failure is not None:
            time.sleep(failure.delay)
            status, more = failure.status or status, {**more, **failure.headers}
            body = body if failure.body is None else failure.body
        self.send_response(status)
        for name, value in more.items():
            self.send_header(name, value)
        if status != 304:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if failure is not None and (failure.stall or failure.cut):
            self.wfile.write(body[: len(body) // 2])
            self.wfile.flush()
            self.close_connection = True
            if failure.stall:
                hub.wait(60)
            return
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: the hub counts."""


if __name__ == "__main__":
    with Hub(8098) as hub:
        threading.Event().wait()

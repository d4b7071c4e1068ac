"""Every kind of source keeps the contract of Sources; the remote ones keep it in bad weather."""

import asyncio
import hashlib
import os
import socket
import threading
import time

import pytest

from aegis.adapters.components.python import PythonLoader
from aegis.adapters.sources.anywhere import Anywhere
from aegis.adapters.sources.tree import Limits
from aegis.core.errors import (
    ComponentError,
    DigestError,
    InvalidError,
    ManifestError,
    SourceError,
)
from tests.hub import Hub, Link, Submodule, forges
from tests.sources import ORDERS, PRICING, book, cell, described, manifest, orders, percent, wheel
from tests.sources import zipped as zipped_of

LIMITS = Limits(connect=2, read=0.3, deadline=2)
LOCAL = ["directory", "described", "file", "notebook", "percent", "zip", "wheel"]
WEB = ["web-file", "web-notebook", "web-zip", "web-wheel", "web-folder"]
REPOSITORIES = ["github", "gitlab", "gitea"]
REMOTE = [*WEB, *REPOSITORIES, "github-described", "gitlab-file"]


@pytest.fixture(scope="module")
def running():
    with Hub() as hub:
        yield hub


@pytest.fixture
def hub(running):
    running.behave()
    return running


class Place:
    """A kind of source, with the component of tests/sources.py in it."""

    def __init__(self, kind, folder, hub):
        self.kind, self.folder, self.hub = kind, folder, hub

    @property
    def is_local(self):
        return self.kind in LOCAL

    def put(self, version="1.2.0", *, extra=None):
        """Put the component there; its address."""
        of_file = {"orders.py": ORDERS.format(version=version) + (extra or "")}
        loose = {**orders(version), **of_file}
        whole = {**of_file, "pricing.py": PRICING}
        whole["aegis.toml"] = manifest(whole, version)
        text = cell(version) + (extra or "")
        match self.kind:
            case "directory":
                return self._write(loose)
            case "described":
                return self._write(whole)
            case "file":
                return self._write(loose, "orders.py")
            case "notebook":
                cells = {"book.ipynb": book("x = 1", text), "pricing.py": PRICING}
                return self._write(cells, "book.ipynb")
            case "percent":
                cells = {"book.py": percent("x = 1", text), "pricing.py": PRICING}
                return self._write(cells, "book.py")
            case "zip":
                return self._write({"orders.zip": zipped_of(loose)}, "orders.zip")
            case "wheel":
                return self._write({"shop.whl": wheel(whole)}, "shop.whl")
            case "web-file":
                return self.hub.files(f"{self._name}/orders.py", _alone(of_file["orders.py"]))
            case "web-notebook":
                return self.hub.files(f"{self._name}/book.ipynb", book(_alone(text)))
            case "web-zip":
                return self.hub.files(f"{self._name}/orders.zip", zipped_of(loose))
            case "web-wheel":
                return self.hub.files(f"{self._name}/shop.whl", wheel(whole))
            case "web-folder":
                return self.hub.folder(self._name, whole)
        scheme, _, what = self.kind.partition("-")
        files = whole if what == "described" else loose
        name = f"group/sub/{self._name}" if scheme == "gitlab" else f"acme/{self._name}"
        mark = "//" if scheme == "gitlab" else "/"
        inner = {"": "", "described": "", "file": f"{mark}parts/orders.py"}[what]
        below = {f"parts/{path}": content for path, content in files.items()} if inner else files
        self.hub.repo(name).commit(below, tag=f"v{version}")
        return f"{scheme}:{name}{inner}"

    def absent(self):
        """An address of this kind where nothing is."""
        known = self.put()
        for name in ("orders.", "book.", "shop."):
            if name in known.rpartition("/")[2]:
                return known.replace(f"/{name}", "/absent.")
        return f"{known.rstrip('/')}-absent" + "/" * known.endswith("/")

    @property
    def _name(self):
        return self.folder.name

    def _write(self, files, entry=""):
        for path, content in files.items():
            file = self.folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content.encode() if isinstance(content, str) else content)
        return str(self.folder / entry)


def _alone(text):
    """The component where nothing is beside it."""
    return text.replace("import pricing\n", "class pricing: PRICE = 3\n")


@pytest.fixture(params=[*LOCAL, *REMOTE])
def place(request, tmp_path, hub):
    return Place(request.param, tmp_path, hub)


@pytest.fixture(params=REMOTE)
def remote(request, tmp_path, hub):
    return Place(request.param, tmp_path, hub)


@pytest.fixture(params=REPOSITORIES)
def repository(request, tmp_path, hub):
    return Place(request.param, tmp_path, hub)


@pytest.fixture
def sources(hub, tmp_path):
    return Anywhere(forges=forges(hub), folder=tmp_path / "cache", limits=LIMITS)


@pytest.fixture
def load():
    loader, loaded = PythonLoader(), []

    def load(bundle):
        loaded.append(loader.load(bundle.source()))
        return loaded[-1]

    yield load
    for revision in loaded:
        loader.unload(revision)


# --- the contract -------------------------------------------------------------------------------


async def test_the_component_is_the_same_wherever_it_is_from(place, sources, load):
    address = place.put()
    told = []
    (bundle,) = await sources.fetch(address, told=lambda done, of: told.append((done, of)))
    assert (bundle.manifest.name, bundle.manifest.version) == ("orders", "1.2.0")
    assert bundle.address == address
    assert bundle.is_local is place.is_local
    assert bundle.is_derived is ("aegis.toml" not in bundle.files)
    revision = load(bundle)
    assert revision.models[0].cls(id="a").total == 3
    assert (revision.source.origin, revision.source.resolved) == (address, bundle.resolved)
    if not place.is_local:
        assert told[-1][0] == told[-1][1] > 0


async def test_only_what_it_imports_belongs_to_it(place, sources):
    (bundle,) = await sources.fetch(place.put())
    assert set(bundle.paths) <= {"orders.py", "pricing.py"}
    assert set(bundle.source().imports) <= {"pricing.py"}


async def test_nothing_of_it_runs_when_it_is_fetched(place, sources):
    (bundle,) = await sources.fetch(place.put(extra="\nraise SystemExit('it ran')\n"))
    assert b"it ran" in bundle.files["orders.py"]


async def test_a_place_where_nothing_is_is_named(place, sources):
    address = place.absent()
    with pytest.raises(SourceError) as refused:
        await sources.fetch(address)
    assert address.rpartition(":")[2].rstrip("/") in str(refused.value)


async def test_one_of_its_components_is_chosen_and_a_wrong_name_is_told(place, sources):
    address = place.put()
    (bundle,) = await sources.fetch(f"{address}#orders")
    assert bundle.address == f"{address}#orders"
    with pytest.raises(InvalidError, match=r"no component 'ordres'.*did you mean 'orders'\?"):
        await sources.fetch(f"{address}#ordres")


async def test_a_digest_that_was_said_is_what_it_must_have(place, sources):
    address = place.put()
    (bundle,) = await sources.fetch(address)
    wrong = "0" * 64
    with pytest.raises(DigestError) as refused:
        await sources.fetch(f"{address}#sha256={wrong}")
    found = next(
        word
        for word in str(refused.value).replace(",", " ").split()
        if len(word) == 64 and word != wrong
    )
    (again,) = await sources.fetch(f"{address}#sha256={found}")
    assert again.digest == bundle.digest


async def test_a_file_that_cannot_be_read_as_python_is_named_with_its_line(place, sources):
    async def read() -> None:
        (bundle,) = await sources.fetch(place.put(extra="\ndef f(:\n"))
        PythonLoader().load(bundle.source())  # what has a manifest is only parsed here

    with pytest.raises(ComponentError, match=r"line 8: .*def f") as refused:
        await read()
    assert refused.value.component == "orders"


# --- what was fetched once ----------------------------------------------------------------------


async def test_what_was_resolved_once_comes_from_the_cache(remote, sources, hub):
    address = remote.put()
    (bundle,) = await sources.fetch(address)
    hub.behave()
    (again,) = await sources.fetch(address, at=bundle.resolved)
    assert (again.digest, again.resolved, hub.asked) == (bundle.digest, bundle.resolved, [])


async def test_it_is_that_and_nothing_newer(remote, sources, tmp_path, hub):
    address = remote.put("1.2.0")
    (old,) = await sources.fetch(address)
    remote.put("1.3.0")
    (kept,) = await sources.fetch(address, at=old.resolved)
    assert kept.manifest.version == "1.2.0"
    (new,) = await sources.fetch(address)
    assert new.manifest.version == "1.3.0"
    fresh = Anywhere(forges=forges(hub), limits=LIMITS)
    if remote.kind in WEB:  # who has it has it no more
        with pytest.raises(DigestError, match="another sha256"):
            await fresh.fetch(address, at=old.resolved)
    else:
        (again,) = await fresh.fetch(address, at=old.resolved)
        assert again.digest == old.digest


async def test_what_is_damaged_in_the_cache_is_fetched_anew(remote, sources, tmp_path, hub):
    address = remote.put()
    (bundle,) = await sources.fetch(address)
    for file in (tmp_path / "cache").iterdir():
        content = bytearray(file.read_bytes() or b"x")
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    hub.behave()
    (again,) = await sources.fetch(address, at=bundle.resolved)
    assert again.digest == bundle.digest
    assert hub.asked
    hub.behave()
    await sources.fetch(address, at=bundle.resolved)
    assert hub.asked == []


async def test_what_is_damaged_in_the_cache_is_named_when_nobody_has_it(
    remote, sources, tmp_path, hub
):
    address = remote.put()
    (bundle,) = await sources.fetch(address)
    for file in (tmp_path / "cache").iterdir():
        if not file.name.startswith("at-"):
            file.write_bytes(b"rubbish")
    hub.fail("*", status=500)
    with pytest.raises(SourceError, match=r"what was kept of .* is damaged") as refused:
        await sources.fetch(address, at=bundle.resolved)
    assert "answers 500" in str(refused.value)


async def test_a_cache_that_cannot_be_written_is_told(remote, tmp_path, hub):
    (tmp_path / "file").write_text("")
    broken = Anywhere(forges=forges(hub), folder=tmp_path / "file", limits=LIMITS)
    with pytest.raises(Exception, match="cannot be kept in"):
        await broken.fetch(remote.put())


@pytest.mark.parametrize("at", ["main", "sha256=1", "..", "deadbeef"])
async def test_what_was_never_resolved_is_refused(remote, sources, at):
    with pytest.raises(InvalidError, match=r"is no (commit|digest)"):
        await sources.fetch(remote.put(), at=at)


# --- bad weather --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"stall": True}, "does not answer in time"),
        ({"cut": True}, "cannot be read"),
        ({"status": 500}, "answers 500"),
        ({"status": 404}, "there is no"),
        ({"status": 401}, "says no"),
        ({"status": 302, "headers": {"Location": "http://shop.example/"}}, "not over https"),
        ({"status": 302, "headers": {"Location": "file:///etc/passwd"}}, "not over https"),
        ({"status": 302, "headers": {"Location": "//[x"}}, "no URL"),
        ({"status": 302, "headers": {"Location": "?"}}, "redirects more than"),
        ({"headers": {"Content-Encoding": "gzip"}}, "nobody asked for"),
    ],
)
async def test_a_source_that_fails_in_the_middle_is_named(remote, sources, hub, how, said):
    address = remote.put()
    hub.fail("*", **how)
    with pytest.raises(SourceError) as refused:
        await sources.fetch(address)
    assert said in str(refused.value)
    assert address in str(refused.value) or address.partition("/parts")[0].rstrip("/") in str(
        refused.value
    )
    hub.behave()
    assert len(await sources.fetch(address)) == 1


async def test_a_source_that_drips_is_given_up(remote, hub, tmp_path):
    address = remote.put()
    hub.fail("*", delay=0.2)
    hasty = Anywhere(forges=forges(hub), limits=Limits(read=5, deadline=0.15))
    with pytest.raises(SourceError, match=r"it takes more than 0.15 s"):
        await hasty.fetch(address)


async def test_more_than_a_source_may_be_is_refused(remote, hub):
    small = Anywhere(forges=forges(hub), limits=Limits(total=256))
    with pytest.raises((SourceError, ManifestError), match="MiB"):
        await small.fetch(remote.put(extra="#" + "".join(map(str, range(9999)))))


async def test_a_server_that_is_away_is_named(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    with pytest.raises(SourceError, match=f"127.0.0.1:{port} cannot be read"):
        await Anywhere().fetch(f"http://127.0.0.1:{port}/orders.py")


async def test_whoever_stops_waiting_leaves_nothing_behind(remote, sources, hub, tmp_path):
    address = remote.put()
    hub.fail("*", stall=True)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await sources.fetch(address)
    hub.behave()
    assert len(await sources.fetch(address)) == 1
    assert [file for file in (tmp_path / "cache").iterdir() if "." in file.name] == []


# --- repositories -------------------------------------------------------------------------------


async def test_refs_are_branches_tags_commits_and_ranges(repository, sources, hub):
    address = repository.put("1.2.0")
    repository.put("1.10.0")
    repository.put("2.0.0-rc.1")
    repo = hub.repo(address.partition(":")[2])
    first = repo.tags["v1.2.0"]
    repo.commit(orders("3.0.0"), branch="feature/next")
    for ref, version in [
        ("", "2.0.0-rc.1"),
        ("@main", "2.0.0-rc.1"),
        ("@feature/next", "3.0.0"),
        ("@v1.2.0", "1.2.0"),
        (f"@{first}", "1.2.0"),
        ("@1.2.0", "1.2.0"),
        ("@^1.2", "1.10.0"),
        ("@*", "1.10.0"),
        ("@>=1 <1.5", "1.2.0"),
        ("@>=2.0.0-rc.0", "2.0.0-rc.1"),
    ]:
        (bundle,) = await sources.fetch(f"{address}{ref}")
        assert bundle.manifest.version == version, ref
    offered = await sources.offers(address)
    assert [one.version for one in offered] == ["1.2.0", "1.10.0", "2.0.0-rc.1"]
    assert offered[0].ref == "v1.2.0"


async def test_a_range_without_a_match_names_what_there_is(repository, sources):
    address = repository.put("1.2.0")
    with pytest.raises(SourceError, match=r"has no version in \^3 \(its newest are 1.2.0\)"):
        await sources.fetch(f"{address}@^3")
    with pytest.raises(SourceError, match="there is no 'mian'"):
        await sources.fetch(f"{address}@mian")


async def test_a_folder_of_a_repository_has_releases_of_its_own(repository, sources, hub):
    name = repository.put("1.0.0").partition(":")[2]
    repo, mark = hub.repo(name), "//" if repository.kind == "gitlab" else "/"
    for version, tag in [
        ("1.1.0", "orders-v1.1.0"),
        ("1.2.0", "orders/v1.2.0"),
        ("1.3.0", "orders@1.3.0"),
    ]:
        repo.commit({f"parts/orders/{k}": v for k, v in orders(version).items()}, tag=tag)
    repo.tags["shipping-v1.9.0"] = repo.tags["v1.0.0"]
    address = f"{repository.kind}:{name}{mark}parts/orders"
    assert [one.version for one in await sources.offers(address)] == ["1.1.0", "1.2.0", "1.3.0"]
    (bundle,) = await sources.fetch(f"{address}@~1.2")
    assert bundle.manifest.version == "1.2.0"
    (bundle,) = await sources.fetch(f"{address}@orders-v1.1.0")
    assert bundle.manifest.version == "1.1.0"


async def test_a_tag_that_says_another_version_than_the_component_is_refused(
    repository, sources, hub
):
    address = repository.put("1.2.0")
    repo = hub.repo(address.partition(":")[2])
    repo.tags["v1.9.0"] = repo.tags["v1.2.0"]
    with pytest.raises(
        ManifestError, match=r"the tag says version 1\.9\.0, and the component 1\.2\.0"
    ):
        await sources.fetch(f"{address}@^1")


async def test_tags_beyond_the_first_page_are_seen(repository, sources, hub):
    address = repository.put("1.2.0")
    repo = hub.repo(address.partition(":")[2])
    commit = repo.tags.pop("v1.2.0")
    repo.tags |= {f"nightly-{n}": commit for n in range(230)} | {"v1.2.0": commit}
    (bundle,) = await sources.fetch(f"{address}@^1")
    assert bundle.resolved == commit
    few = Anywhere(forges=forges(hub), limits=Limits(pages=2))
    with pytest.raises(SourceError, match="more than 2 pages of tags"):
        await few.offers(address)


async def test_it_takes_few_requests(repository, sources, hub):
    address = repository.put()
    await sources.fetch(f"{address}@^1")
    # GitHub sends whoever wants the files to another server.
    assert len(hub.asked) == (3 if repository.kind == "github" else 2)
    hub.behave()
    await sources.fetch(f"{address}@^1")
    assert len(hub.asked) == 1


async def test_a_server_is_asked_whether_what_it_said_still_holds(repository, sources, hub):
    address = repository.put("1.2.0")
    assert [one.version for one in await sources.offers(address)] == ["1.2.0"]
    hub.behave()
    assert [one.version for one in await sources.offers(address)] == ["1.2.0"]
    (asked,) = hub.asked
    assert asked.headers["if-none-match"]
    repository.put("1.3.0")
    assert [one.version for one in await sources.offers(address)] == ["1.2.0", "1.3.0"]
    hub.fail("*", status=304)
    with pytest.raises(SourceError, match="answers 304"):
        await Anywhere(forges=forges(hub)).offers(address)


@pytest.mark.parametrize(
    ("content", "said"),
    [(Link("/etc/passwd"), "is a link"), (Link("../x"), "is a link"), (Submodule(), "submodule")],
)
async def test_links_and_submodules_are_refused_where_they_are_used(
    repository, sources, hub, content, said
):
    address = repository.put()
    repo = hub.repo(address.partition(":")[2])
    repo.commit({"docs/link": content})
    assert len(await sources.fetch(address)) == 1
    path = "pricing" if isinstance(content, Submodule) else "pricing.py"
    repo.commit({"pricing.py": None, path: content})
    with pytest.raises(ManifestError, match=rf"{path} {said}|{path}.*{said}"):
        await sources.fetch(address)


async def test_names_that_differ_in_case_only_are_refused_where_they_are_used(
    repository, sources, hub
):
    address = repository.put()
    repo = hub.repo(address.partition(":")[2])
    repo.commit({"docs/A": "", "docs/a": ""})
    assert len(await sources.fetch(address)) == 1
    repo.commit({"PRICING.py": ""})
    with pytest.raises(ManifestError, match="the same where case does not matter"):
        await sources.fetch(address)


async def test_a_rate_limit_says_until_when(repository, sources, hub):
    address = repository.put()
    at = int(time.time()) + 3600
    until = time.strftime("%H:%M:%S UTC", time.gmtime(at))
    for status, headers in [
        (403, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(at)}),
        (429, {"RateLimit-Reset": str(at)}),
    ]:
        hub.behave()
        hub.fail("*", status=status, headers=headers)
        with pytest.raises(SourceError, match=f"no more questions for now, until {until}"):
            await sources.fetch(address)
    hub.behave()
    hub.fail("*", status=429, headers={"Retry-After": "soon"})
    with pytest.raises(SourceError, match="no more questions for now"):
        await sources.fetch(address)


@pytest.mark.parametrize(
    "body", [b"<html>", b"[]", b"{}", b"null", b"[[]]", b"3", b'{"sha": 1}', b"[" * 99999]
)
async def test_an_answer_that_makes_no_sense_is_told(repository, sources, hub, body):
    address = repository.put()
    hub.fail("*", body=body)
    for ref in ("", "@^1"):
        with pytest.raises((SourceError, ManifestError)):
            await sources.fetch(address + ref)


async def test_a_tarball_that_is_none_is_not_kept(repository, sources, hub):
    address = repository.put()
    pattern = {"github": "/codeload/*", "gitlab": "*archive*", "gitea": "*archive*"}[
        repository.kind
    ]
    hub.fail(pattern, body=b"<html>sign in</html>")
    with pytest.raises(ManifestError, match="no tarball that can be read"):
        await sources.fetch(address)
    hub.behave()
    assert len(await sources.fetch(address)) == 1


# --- secrets ------------------------------------------------------------------------------------


async def test_a_token_is_for_its_own_server_and_is_never_shown(repository, tmp_path, hub):
    address = repository.put()
    hub.token = "hush"
    try:
        with pytest.raises(SourceError, match="says no"):
            await Anywhere(forges=forges(hub)).fetch(address)
        known = Anywhere(forges=forges(hub, "hush"), folder=tmp_path / "cache")
        with Hub() as other:
            # The port makes it another server.
            there = {"Location": f"{other.url}/files/x"}
            hub.behave()
            failure = hub.fail("*", status=302, headers=there)
            with pytest.raises(SourceError) as refused:
                await known.fetch(address)
            assert other.asked
            assert all("hush" not in str(asked.headers) for asked in other.asked)
            assert "hush" not in str(refused.value)
            failure.times = 0
        assert len(await known.fetch(address)) == 1
        assert all(b"hush" not in file.read_bytes() for file in (tmp_path / "cache").iterdir())
    finally:
        hub.token = None


# --- the web ------------------------------------------------------------------------------------


async def test_a_folder_on_the_web_has_the_files_it_lists_and_each_is_checked(sources, hub):
    files = described()
    address = hub.folder("listed", files)
    (bundle,) = await sources.fetch(address)
    assert set(bundle.files) == set(files)
    hub.files("listed/pricing.py", "PRICE = 4\n")
    fresh = Anywhere(limits=LIMITS)
    with pytest.raises(DigestError, match=r"pricing.py: it has another sha256"):
        await fresh.fetch(address)
    hub.files("listed/aegis.sig", b"signed")
    hub.files("listed/pricing.py", PRICING)
    (bundle,) = await fresh.fetch(address)
    assert bundle.signature == b"signed"


async def test_a_folder_that_lists_nothing_is_refused(sources, hub):
    hub.folder("unlisted", {"aegis.toml": '[component]\nname = "orders"\nversion = "1.0.0"\n'})
    with pytest.raises(ManifestError, match="lists no files with their digests"):
        await sources.fetch(f"{hub.url}/files/unlisted/")
    hub.folder("unlisted", {"aegis.toml": "[server]\nport = 1\n"})
    with pytest.raises(ManifestError, match="lists no files with their digests"):
        await sources.fetch(f"{hub.url}/files/unlisted/")


async def test_a_pinned_file_is_asked_for_once(sources, hub):
    content = zipped_of(described())
    url = hub.files("pinned.zip", content)
    address = f"{url}#sha256={hashlib.sha256(content).hexdigest()}"
    await sources.fetch(address)
    hub.behave()
    assert len(await sources.fetch(address)) == 1
    assert hub.asked == []


# --- this machine -------------------------------------------------------------------------------


async def test_paths_are_relative_to_the_hosts_directory(tmp_path, monkeypatch):
    Place("directory", tmp_path, None).put()
    monkeypatch.setenv("HOME", str(tmp_path))
    here = Anywhere(directory=tmp_path)
    for address in (".", "orders.py", "./orders.py", "file:orders.py", "~", "~/orders.py"):
        (bundle,) = await here.fetch(address)
        assert bundle.manifest.name == "orders", address
    with pytest.raises(SourceError, match=r"no .*order.py \(did you mean 'orders.py'\?\)"):
        await here.fetch("order.py")
    with pytest.raises(InvalidError, match="no file that can hold a component"):
        await here.fetch("README.md")
    with pytest.raises(SourceError):
        await here.fetch("x" * 300)
    with pytest.raises(InvalidError, match="running host"):
        await here.fetch("cell:orders")


async def test_a_folder_with_several_components_has_all_of_them(tmp_path):
    Place("directory", tmp_path, None).put()
    (tmp_path / "shipping.py").write_text('__version__ = "0.1.0"\n')
    here = Anywhere(directory=tmp_path)
    found = await here.fetch(".")
    assert [one.manifest.name for one in found] == ["orders", "shipping"]
    (tmp_path / "shipping.py").write_text('__version__ = "0.1.0"\ndef f(:\n')
    (bundle,) = await here.fetch(".#orders")
    assert bundle.manifest.name == "orders"
    with pytest.raises(ComponentError, match="line 2"):
        await here.fetch(".")


async def test_a_notebook_has_the_components_that_a_run_of_it_would_leave(tmp_path):
    tagged = {
        "cell_type": "code",
        "source": "%%component old 1.0.0\n",
        "metadata": {"tags": ["aegis-skip"]},
    }
    cells = [
        {"cell_type": "code", "source": f"\n%%component {said}\n{text}", "metadata": {}}
        for said, text in [
            ("orders 1.0.0", "x = 1"),
            ("shipping 2.0.0", "y = 2"),
            ("orders 1.1.0", "x = 3"),
        ]
    ]
    (tmp_path / "book.ipynb").write_text(book(cells=[*cells, tagged]))
    here = Anywhere(directory=tmp_path)
    found = await here.fetch("book.ipynb")
    assert [(b.manifest.name, b.manifest.version) for b in found] == [
        ("orders", "1.1.0"),
        ("shipping", "2.0.0"),
    ]
    (bundle,) = await here.fetch("book.ipynb#orders")
    assert bundle.source().text == "\nx = 3"
    (tmp_path / "none.ipynb").write_text(book("x = 1"))
    with pytest.raises(Exception, match=r"none\.ipynb has no component"):
        await here.fetch("none.ipynb")


async def test_a_pipe_or_a_device_holds_nobody_up(tmp_path):
    os.mkfifo(tmp_path / "orders.py")
    (tmp_path / "shop").mkdir()
    os.mkfifo(tmp_path / "shop" / "pricing.py")
    (tmp_path / "shop" / "orders.py").write_text(orders()["orders.py"])
    here = Anywhere(directory=tmp_path)
    with pytest.raises(SourceError, match="there is no"):
        await here.fetch("orders.py")
    (bundle,) = await here.fetch("shop")
    assert list(bundle.files) == ["orders.py"]


async def test_fetching_twice_at_once_is_no_trouble(remote, sources):
    address = remote.put()
    found = await asyncio.gather(*(sources.fetch(address) for _ in range(6)))
    assert len({bundle.digest for (bundle,) in found}) == 1
    assert threading.active_count() < 60

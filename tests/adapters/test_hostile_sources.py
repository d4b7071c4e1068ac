"""Hostile manifests, zips, wheels, tarballs and notebooks: an error, no crash, no file anywhere."""

import asyncio
import gzip
import io
import json
import os
import shutil
import stat
import sys
import tarfile
import warnings
import zipfile
import zlib

import pytest
import tomlkit
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from aegis.adapters.sources.anywhere import Anywhere
from aegis.adapters.sources.archive import untarred, unzipped
from aegis.adapters.sources.contents import Contents
from aegis.adapters.sources.notebook import components_of
from aegis.adapters.sources.tree import Limits, MemoryTree
from aegis.core.address import parse
from aegis.core.errors import AegisError, ManifestError
from aegis.core.manifest import read_manifest
from tests.examples import TIMES
from tests.hub import Hub, forges
from tests.sources import book, cell, described, orders, percent, wheel, zipped

SMALL = Limits(files=50, file=1 << 16, total=1 << 18)
NASTY = [
    *("../up.py", "/abs.py", "a/../../b.py", "./a.py", "a//b.py", "", "/", "..", "C:/x.py"),
    *("a\\..\\b.py", "nul\0.py", "a" * 600, "line\nbreak.py", "aux:stream", "~/x.py", "\u202e.py"),
    *("orders.py", "ORDERS.PY", "aegis.toml", "aegis.sig", "pricing.py", "shop/aegis.toml"),
    *(
        "shop/__init__.py",
        "orders.py/inner.py",
        "shop-1.0.dist-info/RECORD",
        "\u00e9.py",
        "e\u0301.py",
    ),
]
names = st.sampled_from(NASTY) | st.text(max_size=12)
contents = st.sampled_from([text.encode() for text in described().values()]) | st.binary(
    max_size=200
)


def hostile(count):
    """Settings for `count` examples, times AEGIS_EXAMPLES; as many as take some seconds."""
    return settings(
        max_examples=count * TIMES,
        deadline=None,
        suppress_health_check=[
            HealthCheck.too_slow,
            HealthCheck.function_scoped_fixture,
            HealthCheck.data_too_large,
        ],
    )


def spoiled(draw, content):
    """Bytes with some of them changed, taken out, or put in; or as they were."""
    content = bytearray(content)
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, max(len(content) - 1, 0)))
        match draw(st.sampled_from(["change", "cut", "put", "repeat"])):
            case "change" if content:
                content[at] = draw(st.integers(0, 255))
            case "cut":
                del content[at : at + draw(st.integers(1, 40))]
            case "put":
                content[at:at] = draw(st.binary(max_size=8))
            case "repeat":
                content[at:at] = content[at : at + draw(st.integers(1, 40))]
    return bytes(content)


@st.composite
def zips(draw):
    packed = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(packed, "w") as archive:
        warnings.simplefilter("ignore")
        for name in draw(st.lists(names, max_size=5)):
            entry = zipfile.ZipInfo("x")
            entry.filename = name
            kind = draw(
                st.sampled_from([0, stat.S_IFREG, stat.S_IFLNK, stat.S_IFDIR, stat.S_IFIFO])
            )
            entry.external_attr = (kind | 0o644) << 16
            entry.compress_type = draw(st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]))
            archive.writestr(entry, draw(contents))
    return spoiled(draw, packed.getvalue())


@st.composite
def tarballs(draw):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name in draw(st.lists(names, max_size=5)):
            entry = tarfile.TarInfo(f"top/{name}" if draw(st.booleans()) else name)
            kinds = [b"0", b"1", b"2", b"3", b"4", b"5", b"6", b"7", b"S"]
            entry.type = draw(st.sampled_from(kinds))
            entry.linkname = draw(names)
            content = draw(contents)
            entry.size = len(content) if entry.isreg() else 0
            try:
                archive.addfile(entry, io.BytesIO(content))
            except (ValueError, UnicodeError):  # the library writes no such thing
                continue
    return gzip.compress(spoiled(draw, packed.getvalue()), 1)


plain = st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=12)
values = st.recursive(
    plain | st.sampled_from(["orders.py", "../x.py", "1.2.0", "^1", "0" * 64]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)
FIELDS = [
    "name",
    "version",
    "models",
    "adapters",
    "dependencies",
    "exports",
    "grants",
    "files",
    "expires",
    "x",
]


@st.composite
def manifests(draw):
    if draw(st.booleans()):
        return spoiled(draw, described()["aegis.toml"].encode())
    table = {"name": "orders", "version": "1.2.0", "models": ["orders.py"]}
    table |= draw(st.dictionaries(st.sampled_from(FIELDS), values, max_size=3))
    try:
        return tomlkit.dumps({"component": table}).encode("utf-8", "surrogatepass")
    except (ValueError, TypeError):  # TOML has no null
        return b"[component]\nname = {}"


@st.composite
def notebooks(draw):
    if draw(st.booleans()):
        return spoiled(draw, book("x = 1", cell()).encode())
    cells = st.dictionaries(
        st.sampled_from(["cell_type", "source", "metadata", "id", "tags"]),
        values | st.sampled_from(["code", cell(), ["%%component a 1.0.0\n", "x"], {"tags": 3}]),
    )
    document = {"nbformat": 4, "cells": draw(st.lists(cells | values, max_size=4) | values)}
    return json.dumps(
        document | draw(st.dictionaries(st.text(max_size=4), values, max_size=1))
    ).encode()


@st.composite
def percents(draw):
    if draw(st.booleans()):
        return spoiled(draw, percent("x = 1", cell()).encode())
    lines = [
        "# %%",
        "# %% [markdown]",
        "# %%component a 1.0.0",
        "x = 1",
        "# ---",
        "#",
        '"""',
        "# %% {",
        "# %% tags=[",
    ]
    return "\n".join(
        draw(st.lists(st.sampled_from(lines) | st.text(max_size=9), max_size=9))
    ).encode("utf-8", "surrogatepass")


# --- who writes what ----------------------------------------------------------------------------


class Watch:
    """Notes which files this process writes, links or runs while inside."""

    EVENTS = frozenset({"os.mkdir", "os.rename", "os.symlink", "os.link", "os.system"})

    def __init__(self):
        self.written = []
        self.depth = 0
        sys.addaudithook(self._heard)

    def __enter__(self):
        self.written.clear()
        self.depth += 1
        return self.written

    def __exit__(self, *_):
        self.depth -= 1

    def _heard(self, event, arguments):
        if not self.depth:
            return
        if event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            self.written.append(str(arguments[0]))
        elif event == "os.rename":
            self.written.append(str(arguments[1]))
        elif event in self.EVENTS or event == "subprocess.Popen":
            self.written.append(str(arguments[0]))


watch = Watch()


def survives(entry, content):
    """Read a source, as far as it can be; nothing may be written, run, or go wrong otherwise."""
    address = parse(f"https://shop.example/{entry}")
    tree = MemoryTree({entry: content}, where=str(address))
    with watch as written:
        try:
            for bundle in Contents(address=address, tree=tree, entry=entry).bundles(SMALL):
                bundle.source()
        except AegisError as error:
            assert str(error)  # noqa: PT017 -- any of them will do
    assert written == []


@pytest.fixture(autouse=True, scope="module")
def warm():
    """What is imported when it is needed first writes its bytecode."""
    for entry, content in [("book.py", percent("x = 1", cell())), ("book.ipynb", book(cell()))]:
        components_of(content.encode(), entry)


@hostile(5200)
@given(zips())
@example(zipped(described()))
@example(zipped({"x/" + path: text for path, text in orders().items()}))
def test_no_zip_does_harm(content):
    survives("orders.zip", content)


@hostile(5000)
@given(zips())
@example(wheel(described()))
def test_no_wheel_does_harm(content):
    survives("orders.whl", content)


@hostile(800)
@given(tarballs())
def test_no_tarball_does_harm(content):
    with watch as written:
        try:
            tree = untarred(content, "github:acme/orders", SMALL)
            for path in tree.names():
                tree.content(path)
        except AegisError as error:
            assert str(error)  # noqa: PT017 -- any of them will do
    assert written == []


@hostile(5200)
@given(manifests())
@example(described()["aegis.toml"].encode())
def test_no_manifest_does_harm(content):
    files = {**described(), "aegis.toml": content}
    survives("orders.zip", zipped(files))


@hostile(3600)
@given(notebooks())
def test_no_notebook_does_harm(content):
    survives("book.ipynb", content)


@hostile(1200)
@given(percents())
def test_no_percent_notebook_does_harm(content):
    survives("book.py", content)


@hostile(2500)
@given(
    st.binary(max_size=300)
    | st.text(max_size=100).map(lambda text: text.encode("utf-8", "surrogatepass"))
)
@example(b"__version__ = '1.0.0'\n" + b"(" * 5000)
@example(b"__version__ = '1.0.0'\n" + b"-" * 100_000 + b"1")
@example(b"__version__ = '1.0.0'\n" + b"x" + b".x" * 50_000)
def test_no_file_does_harm(content):
    survives("orders.py", content)


# --- tricks -------------------------------------------------------------------------------------


def entry(name, content=b"", *, kind=stat.S_IFREG, method=zipfile.ZIP_DEFLATED):
    info = zipfile.ZipInfo("x")
    info.filename, info.external_attr, info.compress_type = name, (kind | 0o644) << 16, method
    return info, content


def packed(*entries):
    archive = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(archive, "w") as writing:
        warnings.simplefilter("ignore")  # a name that is there twice is what is meant
        for info, content in entries:
            writing.writestr(info, content)
    return archive.getvalue()


def lying(size):
    """A zip that says that its file is small, and it is `size` bytes of zeros."""
    content = bytearray(packed(entry("orders.py", b"\0" * size)))
    for at in (22, content.index(b"PK\x01\x02") + 24):  # in both headers
        content[at : at + 4] = (100).to_bytes(4, "little")
    return bytes(content)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: packed(entry("../orders.py")), "leads out of its folder"),
        (lambda: packed(entry("/etc/orders.py")), "leads out of its folder"),
        (lambda: packed(entry("a\\..\\..\\b.py")), "leads out of its folder"),
        (lambda: packed(entry("C:/orders.py")), "leads out of its folder"),
        (
            lambda: packed(entry("orders.py", b"/etc/passwd", kind=stat.S_IFLNK)),
            "a link or a device",
        ),
        (lambda: packed(entry("orders.py", kind=stat.S_IFCHR)), "a link or a device"),
        (lambda: packed(entry("orders.py"), entry("orders.py")), "twice"),
        (lambda: packed(entry("orders.py"), entry("Orders.py")), "where case does not matter"),
        (lambda: packed(entry("\u00e9.py"), entry("e\u0301.py")), "where case does not matter"),
        (lambda: packed(entry("a", b"x"), entry("a/b.py", b"x")), "a file and a folder"),
        (lambda: packed(entry("a/", b"x")), "a folder with content"),
        (lambda: packed(entry("orders.py", b"\0" * (8 << 20))), "packed more than 200 times"),
        (
            lambda: packed(entry("orders.py", b"\0" * (17 << 20), method=zipfile.ZIP_STORED)),
            "larger than",
        ),
        (
            lambda: packed(*(entry(f"{n}.bin", os.urandom(1 << 10)) for n in range(80))),
            "more than 0 MiB",
        ),
        (lambda: packed(*(entry(f"{n}.py") for n in range(11_000))), "more than 10,000 files"),
        (lambda: packed(entry("orders.py", b"x = 1", method=zipfile.ZIP_BZIP2)), "not read here"),
        (lambda: lying(1 << 20), "no zip that can be read"),
        (lambda: b"PK\x05\x06" + b"\0" * 18, "has no component"),
        (lambda: b"", "no zip that can be read"),
        (lambda: b"<html>", "no zip that can be read"),
    ],
    ids=range(20),
)
def test_a_trick_with_a_zip_is_refused_by_name(make, said):
    limits = Limits(total=1 << 16) if "0 MiB" in said else Limits()
    address = parse("https://shop.example/orders.zip")
    tree = MemoryTree({"orders.zip": make()}, where=str(address))
    with pytest.raises(ManifestError) as refused:
        Contents(address=address, tree=tree, entry="orders.zip").bundles(limits)
    assert said in str(refused.value)
    assert "https://shop.example/orders.zip" in str(refused.value)


def test_an_encrypted_zip_is_refused():
    content = bytearray(packed(entry("orders.py", b"x")))
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    with pytest.raises(ManifestError, match="encrypted"):
        unzipped(bytes(content), "orders.zip", Limits())


def test_a_file_that_is_hidden_in_another_is_read_once():
    """Entries of a zip that overlap would unpack to more than there is."""
    inner = packed(*(entry(f"{n}.py", b"x") for n in range(3)))
    start = inner.index(b"PK\x01\x02")
    overlapping = bytearray(inner)
    for n in range(3):  # all entries point at the first one's bytes
        at = start + n * (46 + 4)
        overlapping[at + 42 : at + 46] = (0).to_bytes(4, "little")
    with pytest.raises(ManifestError, match="no zip that can be read"):
        unzipped(bytes(overlapping), "orders.zip", Limits())


def tarred(*entries):
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as writing:
        for name, kind, content in entries:
            info = tarfile.TarInfo(name)
            info.type, info.size, info.linkname = kind, len(content), "/etc/passwd"
            writing.addfile(info, io.BytesIO(content))
    return gzip.compress(archive.getvalue())


def bomb():
    """A tarball of a few KB whose only file would have 300 MB."""
    info = tarfile.TarInfo("top/orders.py")
    info.size = 300 << 20
    packing, zeros = zlib.compressobj(9, wbits=31), b"\0" * (1 << 20)
    blocks = [packing.compress(info.tobuf()), *(packing.compress(zeros) for _ in range(300))]
    return b"".join([*blocks, packing.flush()])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (tarred(("top/../../orders.py", b"0", b"")), "leads out of its folder"),
        (tarred(("/top/orders.py", b"0", b"")), "leads out of its folder"),
        (tarred(("top/orders.py", b"0", b""), ("top/orders.py", b"0", b"")), "twice"),
        (tarred(("top/a", b"3", b"")), "a device"),
        (tarred(("top/a", b"6", b"")), "a device"),
        (bomb(), "unpacked"),
        (gzip.compress(tarred(("top/a", b"0", b""))), "no tarball"),
        (tarred(("top/orders.py", b"0", b"x" * 9999))[:-20], "no tarball"),
        (zlib.compress(b"x"), "no tarball"),
        (b"", "no tarball"),
    ],
    ids=range(10),
)
def test_a_trick_with_a_tarball_is_refused_by_name(content, said):
    with pytest.raises(ManifestError) as refused:
        untarred(content, "github:acme/orders", Limits())
    assert said in str(refused.value)
    assert "github:acme/orders" in str(refused.value)


def test_what_is_too_large_or_cannot_be_named_hinders_only_who_wants_it():
    content = tarred(
        ("top/film.mp4", b"0", b"x" * (1 << 17)),
        ("top/what?.md", b"0", b""),
        ("top/link.py", b"2", b""),
        ("top/orders.py", b"0", b"y"),
    )
    tree = untarred(content, "github:acme/orders", SMALL)
    assert tree.names() == ["orders.py"]
    with pytest.raises(ManifestError, match=r"film.mp4 is larger than"):
        tree.content("film.mp4")
    with pytest.raises(ManifestError, match=r"link.py is a link"):
        tree.is_file("link.py")


def test_a_long_chain_of_imports_is_followed():
    chain = {f"m{n}.py": f"import m{n + 1}\n" for n in range(3000)}
    files = {"orders.py": "__version__ = '1.0.0'\nimport m0\n", "m3000.py": "", **chain}
    survives("orders.zip", b"")
    tree = MemoryTree({path: text.encode() for path, text in files.items()})
    (bundle,) = Contents(address=parse("orders"), tree=tree).bundles(Limits())
    assert len(bundle.files) == 3002


def test_a_notebook_nested_without_end_is_refused():
    with pytest.raises(AegisError):
        components_of(b'{"cells":' + b"[" * 200_000, "book.ipynb")


def test_a_manifest_nested_without_end_is_refused():
    with pytest.raises(ManifestError):
        read_manifest(b"[component]\nversion = " + b"1" * 10_000)
    with pytest.raises(ManifestError):
        read_manifest(b"[component]\nname = " + b"[" * 100_000)
    with pytest.raises(ManifestError):
        read_manifest(b"[component]\n[" + b"a." * 500_000 + b"a]\n")


def test_only_the_cache_is_written(tmp_path):
    cache = tmp_path / "cache"
    with Hub() as hub:
        hub.repo("acme/orders").commit(orders(), tag="v1.2.0")
        url = hub.folder("written", described())
        here = Anywhere(forges=forges(hub), folder=cache)

        async def fetch():
            for address in ("github:acme/orders@^1", "github:acme/orders", url):
                await here.fetch(address)

        asyncio.run(fetch())  # what it imports is there now
        shutil.rmtree(cache)
        with watch as written:
            asyncio.run(fetch())
    assert written
    assert [path for path in written if not path.startswith(str(cache))] == []

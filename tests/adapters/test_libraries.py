"""The libraries that a component is provided with: what the host has not, found, checked, kept."""

import hashlib

import msgspec
import pytest

from aegis.adapters.libraries.provider import WheelLibraries
from aegis.adapters.libraries.shelf import Shelf
from aegis.core.bundle import Bundle
from aegis.core.component import Library
from aegis.core.errors import AegisError, ComponentError, DigestError, SourceError
from aegis.core.manifest import Dependency, manifest_of
from aegis.engine.fetching import pinned
from tests.index import served, sha256, wheel, zipped

CODE = {"left.py": "SIDE = 'left'\n"}


@pytest.fixture(scope="module")
def server():
    with served() as index:
        yield index


@pytest.fixture
def index(server):
    address = server.address
    server.__init__()
    server.address = address
    return server


@pytest.fixture
def shelf(tmp_path):
    return Shelf(tmp_path / "libraries")


@pytest.fixture
def provide(index, shelf):
    """`await provide({"left": ">=1"})` gives versions by name."""

    async def ask(dependencies, *, files=None, is_local=True, libraries=None, told=None):
        found = await (libraries or WheelLibraries(shelf, index=index.address)).provide(
            bundle(dependencies, files=files, is_local=is_local), told=told
        )
        return {one.name: one.version for one in found}

    return ask


def bundle(dependencies, *, name="orders", files=None, is_local=True, address="./orders"):
    manifest = manifest_of(
        {"name": name, "version": "1.0.0", "models": ["orders.py"], "dependencies": dependencies}
    )
    files = {"orders.py": b"", **(files or {})}
    return Bundle(manifest=manifest, files=files, address=address, is_local=is_local)


# --- what is chosen -----------------------------------------------------------------------------


async def test_what_the_host_has_in_range_is_not_fetched(provide, index):
    assert await provide({"msgspec": ">=0.1", "pytest": {"version": "*", "sha256": "0" * 64}}) == {}
    assert await provide({}) == {}
    assert index.asked == []


@pytest.mark.parametrize("html", [False, True])
@pytest.mark.parametrize("apart", [False, True])
async def test_the_newest_version_that_fits_comes_with_what_it_needs(provide, index, html, apart):
    index.html, index.apart = html, apart
    for version in ("1.0", "1.2", "1.10", "2.0"):
        index.put("Left.Right", version, CODE, requires=["up>=1,<3", "msgspec>=0.1"])
    index.put("left-right", "1.11", CODE, yanked="it was wrong")
    index.put("left-right", "1.12", CODE, **{"requires-python": ">=4"})
    index.put("left-right", "1.13rc1", CODE)
    index.offer(b"", "left_right-1.14.tar.gz", name="left-right")
    index.offer(b"", "left_right-1.15-cp311-cp311-manylinux_2_28_x86_64.whl", name="left-right")
    index.put("up", "1.0", {"up.py": ""})
    index.put(
        "up", "2.0", {"up.py": ""}, requires=['never; python_version < "3"', "x; extra == 'z'"]
    )
    assert await provide({"Left_Right": ">=1,<2"}) == {"left-right": "1.10", "up": "2.0"}
    fetched = [path for path in index.asked if path.endswith(".whl")]
    assert sorted(fetched) == [
        *("/files/Left.Right-1.10-py3-none-any.whl", "/files/up-2.0-py3-none-any.whl")
    ]
    assert "/simple/msgspec/" not in index.asked


async def test_an_older_version_is_taken_where_the_newest_ones_do_not_go_together(provide, index):
    index.put("left", "1.0", CODE, requires=["shared<2"])
    index.put("left", "2.0", CODE, requires=["shared>=2"])
    index.put("right", "1.0", CODE, requires=["shared<2"])
    index.put("shared", "1.5", {})
    index.put("shared", "2.5", {})
    found = await provide({"left": "*", "right": "*"})
    assert found == {"left": "1.0", "right": "1.0", "shared": "1.5"}


async def test_extras_are_left_out_unless_they_are_asked_for(provide, index):
    index.put("left", "1.0", CODE, requires=["up; extra == 'fast'", "down; extra == 'slow'"])
    index.put("up", "1.0", {})
    assert await provide({"left": "*"}) == {"left": "1.0"}
    assert await provide({"left[fast]": ">=1"}) == {"left": "1.0", "up": "1.0"}


async def test_a_pre_release_is_taken_where_there_is_nothing_else_or_it_is_named(provide, index):
    index.put("left", "2.0rc1", CODE)
    assert await provide({"left": "*"}) == {"left": "2.0rc1"}
    index.put("left", "1.0", CODE)
    assert await provide({"left": "<3"}) == {"left": "1.0"}
    assert await provide({"left": ">=2.0rc1"}) == {"left": "2.0rc1"}


async def test_what_was_resolved_stays_while_the_host_runs(index, shelf, provide):
    libraries = WheelLibraries(shelf, index=index.address)
    index.put("left", "1.0", CODE)
    assert await provide({"left": "*"}, libraries=libraries) == {"left": "1.0"}
    index.put("left", "1.1", CODE)
    index.down = True
    assert await provide({"left": "*"}, libraries=libraries) == {"left": "1.0"}
    index.down = False
    assert await provide({"left": ">=1"}, libraries=libraries) == {"left": "1.1"}


# --- what is refused ----------------------------------------------------------------------------


REFUSED = {
    "nothing of that name": ({"gone": "*"}, "the index has no gone"),
    "no such version": (
        {"left": ">=9"},
        "orders wants left>=9: the index has 1.0 (widen the range",
    ),
    "no range": ({"left": "^1.2"}, "'^1.2' is no range of versions as PEP 440"),
    "native wheels only": (
        {"native": "*"},
        (
            "native is not pure Python: the index has only files like native-1.0-cp311-abi3-linux.whl, "
            "and a component can have no native or unbuilt code for itself (install native where the "
            "host runs"
        ),
    ),
    "an sdist only": ({"unbuilt": "*"}, "files like unbuilt-1.0.tar.gz"),
    "another Python": ({"tomorrow": "*"}, "no version of tomorrow runs on Python 3."),
    "a need that nothing fulfils": (
        {"needy": "*"},
        "needy 1.0 wants left>=5: the index has 1.0",
    ),
    "needs that exclude each other": ({"needy": "*", "left": "*"}, "needy 1.0 wants left>=5"),
    "an odd need": ({"odd": "*"}, "odd 1.0 asks for"),
    "another digest": ({"wrong": "*"}, "is not what it should be: its sha256"),
    "another name inside": ({"liar": "*"}, "says that it is truth 1.0"),
    "no archive": ({"junk": "*"}, "the archive cannot be read"),
    "native code inside": ({"hidden": "*"}, "hidden/fast.so is native code"),
    "more than the host has": ({"msgspec": ">=900"}, "the host has 0."),
    "a digest that nobody has": (
        {"left": {"sha256": "0" * 64}},
        "the index has no wheel of pure Python of left with sha256 0000",
    ),
    "a path that is not there": ({"left": {"wheel": "left-1.0-py3-none-any.whl"}}, "there is no"),
    "a native wheel by name": (
        {"left": {"wheel": "libs/left-1.0-cp311-cp311-win_amd64.whl"}},
        "left-1.0-cp311-cp311-win_amd64.whl is no wheel of pure Python",
    ),
    "no wheel by name": (
        {"left": {"wheel": "libs/left.zip"}},
        "left.zip is no wheel of pure Python",
    ),
    "plain http": (
        {"left": {"wheel": "http://example.invalid/left-1.0-py3-none-any.whl"}},
        "does not answer",
    ),
    "the wheel of another library": (
        {"left": {"wheel": "libs/right-1.0-py3-none-any.whl"}},
        "the wheel named for left is right 1.0",
    ),
    "a wheel out of its range": (
        {"right": {"wheel": "libs/right-1.0-py3-none-any.whl", "version": ">=2"}},
        "orders wants right>=2: the manifest names right 1.0",
    ),
    "another digest of a given wheel": (
        {"right": {"wheel": "libs/right-1.0-py3-none-any.whl", "sha256": "0" * 64}},
        "is not what is named: its sha256",
    ),
}


@pytest.mark.parametrize("fault", REFUSED)
async def test_what_cannot_be_had_is_named_with_the_likely_fix(provide, index, shelf, fault):
    index.put("left", "1.0", CODE)
    index.put("needy", "1.0", {}, requires=["left>=5"])
    index.put("odd", "1.0", {}, requires=["???"])
    index.put("tomorrow", "1.0", {}, **{"requires-python": ">=9"})
    index.offer(b"", "native-1.0-cp311-abi3-linux.whl")
    index.offer(b"", "native-1.0.tar.gz")
    index.offer(b"", "unbuilt-1.0.tar.gz")
    index.put("wrong", "1.0", {}, hashes={"sha256": "0" * 64})
    index.offer(wheel("truth", "1.0", {}), "liar-1.0-py3-none-any.whl")
    index.offer(b"junk", "junk-1.0-py3-none-any.whl")
    index.put("hidden", "1.0", {"hidden/fast.so": b"\x7fELF"})
    dependencies, said = REFUSED[fault]
    files = {"libs/right-1.0-py3-none-any.whl": wheel("right", "1.0", {})}
    with pytest.raises(AegisError) as refused:
        await provide(dependencies, files=files)
    assert said in str(refused.value)
    assert refused.value.status in {403, 422, 502}


async def test_an_index_that_is_down_or_answers_oddly_is_named_without_its_password(index, shelf):
    for address, down, said in (
        (index.address, True, "answers 503"),
        ("http://127.0.0.1:9/simple", False, "does not answer: ConnectError"),
        ("no address", False, "does not answer"),
        (f"{index.address}/odd", False, "the index has no left"),
    ):
        index.down = down
        with pytest.raises(AegisError, match=said):
            await WheelLibraries(shelf, index=address).provide(bundle({"left": "*"}))
    index.down, index.credentials = False, "ann:s3cret"
    index.put("left", "1.0", CODE)
    known = index.address.replace("://", "://ann:s3cret@")
    assert await WheelLibraries(shelf, index=known).provide(bundle({"left": "*"}))
    for wrong in (index.address, known.replace("s3cret", "s3cre7")):
        with pytest.raises(SourceError, match="answers 401") as refused:
            await WheelLibraries(shelf, index=wrong).provide(bundle({"right": "*"}))
        assert "s3cre" not in str(refused.value)
    index.credentials = None
    for index.odd in (b"{", b'{"files": 1}', b"[" * 100_000):
        with pytest.raises(SourceError, match="answers oddly"):
            await WheelLibraries(shelf, index=index.address).provide(bundle({"left": ">1"}))


async def test_a_bundle_from_elsewhere_has_only_what_its_manifest_pins(provide, index, shelf):
    right = index.put("right", "1.0", {})
    left = index.put("left", "1.0", CODE, requires=["right"])
    with pytest.raises(ComponentError, match=r"says no sha256 of left \(its owner names the wheel"):
        await provide({"left": "*"}, is_local=False)
    with pytest.raises(ComponentError, match=r"left 1\.0 wants right: .* says no sha256 of right"):
        await provide({"left": {"sha256": sha256(left)}}, is_local=False)
    pinned = {"left": {"sha256": sha256(left)}, "right": {"sha256": sha256(right)}}
    index.put("left", "1.1", CODE)
    assert await provide(pinned, is_local=False) == {"left": "1.0", "right": "1.0"}
    index.down = True
    assert await provide(pinned, is_local=False) == {"left": "1.0", "right": "1.0"}
    named = {"left": {"wheel": f"{index.address}/left-1.0-py3-none-any.whl"}}
    with pytest.raises(ComponentError, match="comes from elsewhere, and its sha256 is not named"):
        await provide(named, is_local=False)


async def test_a_wheel_may_be_in_the_source_or_at_an_address(provide, index):
    path = "libs/left-1.0-py3-none-any.whl"
    data = index.put("left", "1.0", CODE)
    files = {path: data}
    assert await provide({"left": {"wheel": path}}, files=files) == {"left": "1.0"}
    said = {"wheel": path, "sha256": sha256(data), "version": "==1.0"}
    assert await provide({"left": said}, files=files, is_local=False) == {"left": "1.0"}
    index.offer(data, "left-1.0-py3-none-any.whl")
    there = index.address.replace("/simple", "/files/left-1.0-py3-none-any.whl")
    heard = []
    found = await provide(
        {"left": {"wheel": there}}, told=lambda so_far, of: heard.append((so_far, of))
    )
    assert found == {"left": "1.0"}
    assert heard[-1] == (len(data), len(data))
    with pytest.raises(DigestError):
        await provide({"left": {"wheel": there, "sha256": "1" * 64}})


async def test_a_library_that_can_be_there_once_is_refused_beside_the_hosts(provide, index):
    """The host has six: it puts itself into sys.meta_path, so no two of it can be in a process."""
    text = "import sys\nclass Finder: pass\nsys.meta_path.append(Finder())\n"
    index.put("msgspec", "900.0", {"msgspec/__init__.py": text})
    with pytest.raises(ComponentError) as refused:
        await provide({"msgspec": ">=900"})
    for words in ("orders wants msgspec>=900", "the host has msgspec 0.", "line 3: sys.meta_path"):
        assert words in str(refused.value)
    assert await provide({"msgspec": {"version": ">=900", "twice": True}}) == {"msgspec": "900.0"}
    index.put("pytest", "900.0", {"pytest.py": ""})
    assert await provide({"pytest": ">=900"}) == {"pytest": "900.0"}
    with pytest.raises(ComponentError, match="the manifest says so"):
        await provide({"pytest": {"version": ">=900", "twice": False}})


# --- the shelf ----------------------------------------------------------------------------------


async def test_what_is_kept_is_checked_when_it_is_read_and_fetched_anew(provide, index, tmp_path):
    data = index.put("left", "1.0", CODE)
    await provide({"left": "*"})
    (path,) = (tmp_path / "libraries").iterdir()
    assert path.name == f"{sha256(data)}.whl"
    path.write_bytes(data[:-1])
    fresh = Shelf(tmp_path / "libraries")
    library = Library(name="left", version="1.0", sha256=sha256(data))
    with pytest.raises(DigestError, match=r"left 1\.0 \(sha256 .*\) is damaged: .*deploy the comp"):
        fresh.wheel(library)
    await provide({"left": "*"}, libraries=WheelLibraries(fresh, index=index.address))
    assert fresh.wheel(library).files["left.py"] == CODE["left.py"].encode()
    assert path.read_bytes() == data
    path.unlink()
    with pytest.raises(SourceError, match="is not kept here"):
        Shelf(tmp_path / "libraries").wheel(library)


def test_a_shelf_that_cannot_be_written_says_so(tmp_path):
    (tmp_path / "libraries").write_text("a file")
    with pytest.raises(SourceError, match="cannot be written"):
        Shelf(tmp_path / "libraries").put(wheel("left", "1.0", {}), "left")


def test_a_shelf_in_memory_keeps_wheels_as_well():
    shelf = Shelf(None)
    kept = shelf.put(wheel("left", "1.0", CODE), "left")
    assert shelf.wheel(kept.library) is kept
    digest = kept.sha256
    del kept
    assert shelf.find(digest).version == "1.0"
    assert shelf.find("0" * 64) is None


# --- sources that are shared --------------------------------------------------------------------


class Places:
    """Sources in memory: bundles by address, `address@range` being the newest in that range."""

    def __init__(self, **bundles):
        self.bundles = bundles
        self.asked = []

    async def offers(self, address):
        return []

    async def fetch(self, address, *, told=None):
        self.asked.append(address)
        return [self.bundles[address]]


def shared(text, version="1.0.0", **dependencies):
    manifest = manifest_of(
        {
            "name": "shared",
            "version": version,
            "services": ["money.py"],
            "dependencies": dependencies,
        }
    )
    files = {"money.py": text.encode(), "rates.py": b"VAT = 19\n"}
    return Bundle(manifest=manifest, files=files, address="github:us/shared", is_local=False)


async def test_the_files_of_another_source_are_a_library(index, shelf):
    index.put("left", "1.0", CODE)
    there = shared("import rates\n", left="*")
    libraries = WheelLibraries(shelf, index=index.address, sources=Places(there=there))
    asked = bundle({"shared": {"source": "there", "version": "^1.0"}})
    found = await libraries.provide(asked)
    assert [(one.name, one.version) for one in found] == [("shared", "1.0.0"), ("left", "1.0")]
    one = shelf.wheel(found[0])
    assert one.is_shared
    assert sorted(one.modules) == ["shared", "shared.money", "shared.rates"]
    again = await WheelLibraries(shelf, index=index.address, sources=Places(there=there)).provide(
        asked
    )
    assert again == found


async def test_what_is_locked_comes_from_the_shelf_and_nobody_is_asked(index, shelf):
    index.put("left", "1.0", CODE)
    places = Places(there=shared("import rates\n", left="*"))
    libraries = WheelLibraries(shelf, index=index.address, sources=places)
    there = "github:us/shared"
    places.bundles = {f"{there}@^1.0": places.bundles["there"], there: places.bundles["there"]}
    asked = bundle({"shared": {"source": there, "version": "^1.0"}}, is_local=False)
    with pytest.raises(ComponentError, match="says no sha256 of left"):
        await libraries.provide(asked)
    local = bundle({"shared": {"source": there, "version": "^1.0"}})
    found = await libraries.provide(local)
    places.asked.clear()
    index.down = True
    again = WheelLibraries(shelf, index=index.address, sources=places)
    assert await again.provide(pinned(asked, found)) == found
    assert places.asked == []


@pytest.mark.parametrize(
    ("dependency", "said"),
    [
        ({"version": "^2.0"}, "there is shared 1.0.0, and ^2.0 is wanted"),
        ({"sha256": "0" * 64}, "there is not what orders depends on: its sha256"),
    ],
)
async def test_a_source_that_is_not_what_is_wanted_is_refused(shelf, dependency, said):
    libraries = WheelLibraries(shelf, sources=Places(there=shared("")))
    with pytest.raises(AegisError) as refused:
        await libraries.provide(bundle({"shared": {"source": "there", **dependency}}))
    assert said in str(refused.value)
    with pytest.raises(ComponentError, match="has shared, and no 'other'"):
        await libraries.provide(bundle({"other": {"source": "there"}}))
    with pytest.raises(SourceError, match="fetches nothing"):
        await WheelLibraries(shelf).provide(bundle({"other": {"source": "there"}}))


async def test_what_comes_from_elsewhere_reaches_no_file_of_this_machine(shelf):
    places = Places(there=shared(""))
    for address in ("there", "/there", "file:there", "cell:there", "../there"):
        with pytest.raises(ComponentError, match="which is on this machine"):
            await WheelLibraries(shelf, sources=places).provide(
                bundle({"shared": {"source": address}}, is_local=False)
            )
    assert places.asked == []


async def test_sources_that_depend_on_each_other_are_named(shelf):
    around = shared("", shared={"source": "there"})
    with pytest.raises(ComponentError, match="depend on each other: shared -> shared"):
        await WheelLibraries(shelf, sources=Places(there=around)).provide(
            bundle({"shared": {"source": "there"}})
        )


def test_a_dependency_says_whether_it_may_be_there_twice():
    assert Dependency(twice=False).twice is False
    with pytest.raises(AegisError, match="twice"):
        bundle({"left": {"twice": "no"}})


def test_the_digest_of_a_source_tells_its_libraries():
    one = bundle({"left": "*"})
    plain = one.source()
    other = one.source([Library(name="left", version="1.0", sha256="1" * 64)])
    assert plain.digest != other.digest
    assert msgspec.json.decode(msgspec.json.encode(other), type=type(other)) == other


def test_no_wheel_is_taken_for_one(shelf):
    for files, said in (
        ({"left.py": ""}, "no METADATA"),
        ({"left-1.0.dist-info/METADATA": ""}, "no name"),
        ({"left-1.0.dist-info/METADATA": "Name: left\nVersion: one\n"}, "no version"),
        ({f"{n}.dist-info/METADATA": "Name: a\nVersion: 1\n" for n in "ab"}, "in one folder"),
    ):
        with pytest.raises(SourceError, match=said):
            shelf.put(zipped(files), "left")
    assert hashlib.sha256(b"").hexdigest() == sha256(b"")

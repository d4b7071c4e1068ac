"""What comes from elsewhere is deployed when its owner signed it, and nothing older after that."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aegis.adapters.storage.sqlite import SqliteStore
from aegis.adapters.trust.pinned import PinnedTrust
from aegis.adapters.trust.pins import PinFile
from aegis.core.errors import (
    ConfigError,
    DigestError,
    ManifestError,
    StoreError,
    TrustError,
)
from aegis.core.manifest import FILE, SIGNATURE
from aegis.core.trust import Allowed, Trusted
from aegis.engine.plan import Change
from aegis.testing import memory_host
from tests.contracts.trust import NOW
from tests.fakes import FailingStore, PlacedSources, SteppedClock
from tests.signed import HOME, Owner, with_files

OWNER, OTHER = Owner(), Owner()


@pytest.fixture
def shelf():
    return PlacedSources()


def hosted(shelf, trusted=None, *, file=None, clock=None, **parts):
    """A host that trusts the owner, with what the shelf has."""
    trusted = Trusted(pins={"github:acme/*": (OWNER.key,)}) if trusted is None else trusted
    trust = PinnedTrust(trusted, file)
    return memory_host(sources=shelf, trust=trust, clock=clock or SteppedClock(NOW), **parts)


async def told(host, **asked):
    return [(one.action, one.about, one.version, one.key) for one in await host.audit(**asked)]


async def refused(host, address=HOME, said="is older than"):
    """An attempt that changes nothing that serves, and is told once."""
    live = dict(host.engine.registry.live)
    before = len(await host.audit(1000))
    with pytest.raises(TrustError, match=said) as error:
        await host.deploy(address, who="ada")
    assert host.engine.registry.live == live
    (entry,) = (await host.audit(1000))[before:]
    assert (entry.action, entry.who, entry.address) == ("refuse", "ada", address)
    assert entry.detail == str(error.value)
    return entry


async def test_a_signed_component_serves_and_the_log_tells_who_signed_it(shelf):
    shelf.put(OWNER.bundle())
    async with hosted(shelf) as host:
        deployment = await host.deploy(HOME, who="ada")
        assert deployment.signed.key == OWNER.key
        pin, entry = await host.audit()
        assert (pin.action, pin.who, pin.about, pin.key) == (
            "pin", "configuration", "github:acme/*", OWNER.key,
        )  # fmt: skip
        assert (entry.action, entry.who, entry.version, entry.address, entry.resolved) == (
            "deploy", "ada", "1.0.0", HOME, "0" * 40,
        )  # fmt: skip
        assert (entry.key, entry.digest) == (OWNER.key, deployment.digest)
        await host.create("Order", total=3)


async def test_what_is_refused_leaves_what_serves_and_is_told_with_its_reason(shelf):
    shelf.put(OWNER.bundle())
    async with hosted(shelf) as host:
        await host.deploy(HOME)
        shelf.put(OTHER.bundle("1.1.0"))
        entry = await refused(host, said="not pinned")
        assert (entry.about, entry.version, entry.resolved) == ("orders", "1.1.0", "0" * 40)
        shelf.there[HOME] = DigestError("the archive is another one")
        entry = await refused(host, said="another one")
        assert entry.about == ""
        await host.create("Order", total=3)


async def test_without_trust_nothing_from_elsewhere_is_taken(shelf):
    shelf.put(OWNER.bundle())
    async with memory_host(sources=shelf, trust=None) as host:
        await refused(host, said="trusts nothing that is not on this machine")
        shelf.put(replace(OWNER.bundle(), is_local=True))
        assert (await host.deploy(HOME)).signed is None


async def test_one_of_several_components_that_is_not_trusted_keeps_all_out(shelf):
    shelf.put(OWNER.bundle(), OTHER.bundle(name="shipping"))
    async with hosted(shelf) as host:
        with pytest.raises(TrustError, match="shipping"):
            await host.fetch(HOME)


# --- older versions


async def test_an_older_version_is_refused_and_a_rollback_is_not(shelf):
    async with hosted(shelf) as host:
        for version in ("1.0.0", "1.10.0"):
            shelf.put(OWNER.bundle(version))
            await host.deploy(HOME)
        for version in ("1.9.0", "1.10.0-rc.1", "0.1.0"):
            shelf.put(OWNER.bundle(version))
            await refused(host, said=f"orders {version} is older than 1.10.0")
        await host.rollback("orders")
        assert host.engine.registry.live["orders"].version == "1.0.0"
        shelf.put(OWNER.bundle("1.9.0"))
        await refused(host)
        shelf.put(OWNER.bundle("1.0.0"))
        await host.deploy(HOME)  # it serves, as the operator wants
        shelf.put(OWNER.bundle("1.0.0", signed="2026-01-31T00:00:00.000Z"))
        await refused(host)  # the same number, signed at another time, is not what served
        shelf.put(OWNER.bundle("1.10.0"))
        await host.deploy(HOME)
        shelf.put(OWNER.bundle("1.0.0"))
        await refused(host)


@pytest.mark.parametrize(
    "address",
    [
        f"{HOME}@1.0.0",
        f"{HOME}/",
        f"{HOME}#orders",
        "github:acme/ORDERS",
        "github:acme/%6frders",
        "github:acme/mirror",
    ],
)
async def test_another_way_to_write_an_address_lets_nothing_older_in(shelf, address):
    shelf.put(OWNER.bundle("2.0.0"))
    shelf.put(OWNER.bundle("1.0.0", address=address))
    async with hosted(shelf) as host:
        await host.deploy(HOME)
        await refused(host, address)


async def test_an_older_key_lets_nothing_older_in(shelf):
    trusted = Trusted(pins={HOME: (OWNER.key, OTHER.key)})
    async with hosted(shelf, trusted) as host:
        shelf.put(OWNER.bundle("2.0.0"))
        await host.deploy(HOME)
        shelf.put(OTHER.bundle("1.0.0"))
        await refused(host)


async def test_versions_of_another_component_are_not_compared(shelf):
    shelf.put(OWNER.bundle("2.0.0"))
    other = "github:acme/shipping"
    files = {"orders.py": b"from aegis import Model\nclass Parcel(Model):\n    a: int = 0\n"}
    shelf.put(OWNER.bundle("1.0.0", name="shipping", address=other, files=files))
    async with hosted(shelf) as host:
        await host.deploy(HOME)
        await host.deploy(other)


async def test_nothing_older_is_let_in_after_a_restart(shelf, tmp_path):
    shelf.put(OWNER.bundle("2.0.0"))
    async with hosted(shelf, store=SqliteStore(tmp_path)) as host:
        await host.deploy(HOME)
    shelf.put(OWNER.bundle("1.0.0"))
    async with hosted(shelf, store=SqliteStore(tmp_path)) as host:
        await refused(host)


async def test_what_was_not_stored_is_not_remembered(shelf):
    store = FailingStore()
    async with hosted(shelf, store=store) as host:
        shelf.put(OWNER.bundle("2.0.0"))
        store.fail_next()
        with pytest.raises(StoreError):
            await host.deploy(HOME)
        shelf.put(OWNER.bundle("1.0.0"))
        await host.deploy(HOME)


async def test_of_two_that_were_fetched_before_either_was_deployed_the_older_is_refused(shelf):
    async with hosted(shelf) as host:
        shelf.put(OWNER.bundle("1.0.0"))
        (old,) = await host.fetch(HOME)
        shelf.put(OWNER.bundle("2.0.0"))
        await host.deploy(HOME)
        with pytest.raises(TrustError, match=r"older than 2\.0\.0"):
            await host.deploy(old.source)
        with pytest.raises(TrustError, match=r"older than 2\.0\.0"):
            await host.split(old.source)
        with pytest.raises(TrustError, match=r"older than 2\.0\.0"):
            await host.change(Change(sources=(old.source,)))
        assert [one.action for one in await host.audit(3)] == ["refuse"] * 3


async def test_an_operator_lets_one_older_version_in_by_name(shelf, tmp_path):
    file = PinFile(tmp_path)
    file.pin(HOME, OWNER.key, "ada")
    async with hosted(shelf, Trusted(), file=file) as host:
        shelf.put(OWNER.bundle("2.0.0"))
        await host.deploy(HOME)
        shelf.put(OWNER.bundle("1.0.0"))
        await refused_after_looking(host)
        file.allow(Allowed(HOME, "orders", "1.0.0"), "ada")
        await host.deploy(HOME)
        assert host.engine.registry.live["orders"].version == "1.0.0"
        shelf.put(OWNER.bundle("1.1.0"))
        await refused(host, said="older than 2.0.0")
        assert [one.action for one in await host.audit()] == [
            "pin", "deploy", "refuse", "allow", "deploy", "refuse",
        ]  # fmt: skip


async def refused_after_looking(host):
    with pytest.raises(
        TrustError, match=r"aegis keys allow-older github:acme/orders orders@1\.0\.0"
    ):
        await host.deploy(HOME)


# --- time


async def test_a_clock_that_is_set_back_makes_nothing_good_again(shelf):
    clock = SteppedClock(NOW)
    shelf.put(OWNER.bundle(expires="2026-03-02T00:00:00.000Z"))
    async with hosted(shelf, clock=clock) as host:
        await host.fetch(HOME)
        clock.advance(2 * 86400)
        await refused(host, said="has expired")
        await host.deploy("cups", "1.0.0", "from aegis import Model\nclass Cup(Model): pass\n")
        clock.advance(-2 * 86400)
        assert clock.now() == NOW
        await refused(host, said="has expired")


async def test_what_serves_when_its_signature_expires_serves_after_a_restart(shelf, tmp_path):
    clock = SteppedClock(NOW)
    bundle = OWNER.bundle(expires="2026-03-02T00:00:00.000Z")
    shelf.put(bundle)
    async with hosted(shelf, clock=clock, store=SqliteStore(tmp_path)) as host:
        await host.deploy(HOME)
    clock.advance(2 * 86400)
    async with hosted(shelf, clock=clock, store=SqliteStore(tmp_path)) as host:
        await host.deploy(HOME)
        shelf.put(OWNER.bundle("1.0.1", expires="2026-03-02T00:00:00.000Z"))
        await refused(host, said="has expired")
        shelf.put(
            OWNER.bundle(signed="2026-02-02T00:00:00.000Z", expires="2026-03-02T00:00:00.000Z")
        )
        await refused(host, said="has expired")
        shelf.put(bundle)
        await host.undeploy("orders")
        await refused(host, said="has expired")


# --- pins that change


async def test_pins_count_as_soon_as_they_are_written_and_the_log_tells_who_did(shelf, tmp_path):
    file = PinFile(tmp_path)
    shelf.put(OWNER.bundle())
    async with hosted(shelf, Trusted(), file=file) as host:
        await refused(host, said="nobody is trusted")
        file.pin(HOME, OWNER.key, "ada")
        await host.deploy(HOME)
        file.unpin(HOME, OWNER.key, "bob")
        with pytest.raises(TrustError, match="nobody is trusted"):
            await host.fetch(HOME)
        assert [(one.action, one.who, one.key) for one in await host.audit()] == [
            ("refuse", "ada", ""),
            ("pin", "ada", OWNER.key),
            ("deploy", "cell", OWNER.key),
            ("unpin", "bob", OWNER.key),
            ("refuse", "cell", ""),
        ]


async def test_what_changes_while_the_host_is_away_is_told_once_when_it_is_back(shelf, tmp_path):
    file = PinFile(tmp_path)
    file.pin(HOME, OWNER.key, "ada")
    for _ in range(2):
        async with hosted(shelf, Trusted(), file=file, store=SqliteStore(tmp_path)) as host:
            assert await told(host) == [("pin", HOME, "", OWNER.key)]
    file.unpin(HOME, OWNER.key, "bob")
    open_to_all = Trusted(unsigned=("http://127.0.0.1:*/",))
    for _ in range(2):
        async with hosted(shelf, open_to_all, file=file, store=SqliteStore(tmp_path)) as host:
            assert await told(host, after=1) == [
                ("unpin", HOME, "", OWNER.key),
                ("trust", "http://127.0.0.1:*/", "", ""),
            ]
            assert host.status().unsigned == ("http://127.0.0.1:*/",)
    async with hosted(shelf, Trusted(), file=file, store=SqliteStore(tmp_path)) as host:
        assert await told(host, after=3) == [("distrust", "http://127.0.0.1:*/", "", "")]


@pytest.mark.parametrize("content", [b"{", b"\xff", b'{"pins": {"x": ["y"]}}', b'{"more": 1}'])
async def test_pins_that_cannot_be_read_let_nothing_in(shelf, tmp_path, content, caplog):
    file = PinFile(tmp_path)
    file.pin(HOME, OWNER.key, "ada")
    file.path.write_bytes(content)
    shelf.put(OWNER.bundle())
    async with hosted(shelf, file=file) as host:
        assert "cannot be told" in caplog.text
        with pytest.raises(ConfigError, match=r"trust\.json is damaged"):
            await host.deploy(HOME)
        await host.deploy("cups", "1.0.0", "from aegis import Model\nclass Cup(Model): pass\n")


async def test_pins_that_others_may_write_let_nothing_in(shelf, tmp_path):
    file = PinFile(tmp_path)
    file.pin(HOME, OWNER.key, "ada")
    assert file.path.stat().st_mode & 0o777 == 0o600
    file.path.chmod(0o620)
    shelf.put(OWNER.bundle())
    async with hosted(shelf, file=file) as host:
        with pytest.raises(ConfigError, match="others may change whom"):
            await host.deploy(HOME)


async def test_many_who_pin_at_a_time_lose_nothing(tmp_path):
    owners = [Owner() for _ in range(20)]
    await asyncio.gather(
        *(asyncio.to_thread(PinFile(tmp_path).pin, HOME, one.key, "ada") for one in owners)
    )
    assert set(PinFile(tmp_path).read().pins[HOME]) == {one.key for one in owners}


# --- anything else than what was signed

BUNDLE = OWNER.bundle(expires="2027-01-01T00:00:00.000Z")
PINNED = PinnedTrust(Trusted(pins={HOME: (OWNER.key,)}))


async def test_the_bundle_that_is_flipped_below_is_good():
    assert await PINNED.check(BUNDLE, NOW)


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_no_byte_of_what_was_signed_can_be_another_one(data):
    path = data.draw(st.sampled_from([FILE, SIGNATURE, "orders.py"]))
    content = bytearray(BUNDLE.files[path])
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    try:
        changed = with_files(BUNDLE, **{path: bytes(content)})
    except ManifestError:
        return  # whoever fetches it has refused it
    with pytest.raises(TrustError):
        asyncio.run(PINNED.check(changed, NOW))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_no_other_file_is_a_signature(content):
    with pytest.raises(TrustError):
        asyncio.run(PINNED.check(with_files(BUNDLE, **{SIGNATURE: content}), NOW))


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60))
def test_no_address_but_those_pinned_is_trusted(text):
    address = f"github:{text}"
    if address.startswith(HOME):
        return
    with pytest.raises(TrustError):
        asyncio.run(PINNED.check(replace(BUNDLE, address=address), NOW))


async def test_the_moment_of_an_end_is_too_late():
    end = datetime(2027, 1, 1, tzinfo=UTC)
    with pytest.raises(TrustError, match="expired"):
        await PINNED.check(BUNDLE, end)

"""What everybody who says what is trusted must do: inherit TrustContract and give it a `trust`."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from aegis.core.errors import DigestError, TrustError
from aegis.core.manifest import FILE, SIGNATURE
from aegis.core.trust import Allowed, Trusted
from tests.signed import CODE, HOME, SIGNED, Owner, with_files

NOW = datetime(2026, 3, 1, tzinfo=UTC)
OWNER, OTHER = Owner(), Owner()


def pinned(*owners, source=HOME, **more):
    return Trusted(pins={source: tuple(owner.key for owner in owners)}, **more)


class TrustContract:
    """Tests of protocols.Trust; a subclass has a fixture `trust` that makes one of a Trusted."""

    async def refused(self, trust, bundle, said, *, now=NOW, kind=TrustError):
        with pytest.raises(TrustError, match=said) as told:
            await trust.check(bundle, now)
        assert type(told.value) is kind
        assert told.value.hint
        assert "(orders 1.0.0)" in told.value.detail

    async def test_what_the_pinned_key_signed_is_trusted_and_says_by_whom_and_when(self, trust):
        signed = await trust(pinned(OWNER)).check(OWNER.bundle(), NOW)
        assert (signed.key, signed.time, signed.older) == (OWNER.key, SIGNED, False)

    async def test_one_of_several_keys_is_enough(self, trust):
        both = trust(pinned(OTHER, OWNER))
        assert (await both.check(OWNER.bundle(), NOW)).key == OWNER.key
        assert (await both.check(OTHER.bundle(), NOW)).key == OTHER.key

    async def test_what_is_on_this_machine_needs_nothing(self, trust):
        bundle = replace(OWNER.bundle(address="./orders"), files={}, is_local=True)
        assert await trust(Trusted()).check(bundle, NOW) is None

    async def test_nobody_is_trusted_where_nothing_is_pinned(self, trust):
        await self.refused(trust(Trusted()), OWNER.bundle(), "nobody is trusted for .* from github")

    async def test_a_missing_signature_is_refused(self, trust):
        bundle = with_files(OWNER.bundle(), without={SIGNATURE})
        await self.refused(trust(pinned(OWNER)), bundle, "it is not signed")

    async def test_what_has_no_manifest_is_refused_whatever_is_derived_of_it(self, trust):
        bundle = replace(OWNER.bundle(), is_derived=True)
        await self.refused(trust(pinned(OWNER)), bundle, "has no aegis.toml")
        bundle = with_files(OWNER.bundle(), without={FILE})
        await self.refused(trust(pinned(OWNER)), bundle, "has no aegis.toml")

    async def test_a_key_that_is_not_pinned_is_refused(self, trust):
        await self.refused(trust(pinned(OWNER)), OTHER.bundle(), "signed by .* not pinned")

    async def test_the_most_specific_pin_counts_alone(self, trust):
        asked = trust(
            Trusted(pins={"github:acme/*": (OWNER.key,), "github:acme/orders": (OTHER.key,)})
        )
        await self.refused(asked, OWNER.bundle(), "not pinned")
        assert await asked.check(OTHER.bundle(), NOW)
        assert await asked.check(OWNER.bundle(address="github:acme/shipping"), NOW)

    async def test_a_signature_of_another_manifest_is_refused(self, trust):
        asked = trust(pinned(OWNER))
        for other in (OWNER.bundle("1.0.1"), OWNER.bundle(name="shipping")):
            moved = with_files(OWNER.bundle(), **{SIGNATURE: other.signature})
            await self.refused(asked, moved, "signature is wrong")

    async def test_a_signature_is_of_its_times_and_its_key_too(self, trust):
        bundle = OWNER.bundle(expires="2026-02-02T00:00:00.000Z")
        for old, new in (
            (b"2026-02-02", b"2036-02-02"),
            (b"2026-02-01", b"2026-01-01"),
            (b'"2026-02-02T00:00:00.000Z"', b"null"),
        ):
            forged = bundle.signature.replace(old, new)
            assert forged != bundle.signature
            moved = with_files(bundle, **{SIGNATURE: forged})
            await self.refused(trust(pinned(OWNER)), moved, "signature is wrong")
        claimed = OTHER.bundle().signature.replace(OTHER.key.encode(), OWNER.key.encode())
        moved = with_files(OTHER.bundle(), **{SIGNATURE: claimed})
        await self.refused(trust(pinned(OWNER)), moved, "signature is wrong")

    async def test_a_file_that_was_swapped_added_or_left_out_is_refused(self, trust):
        asked, bundle = trust(pinned(OWNER)), OWNER.bundle(files={"orders.py": CODE, "b.py": b""})
        swapped = with_files(bundle, **{"orders.py": CODE + b"import os"})
        await self.refused(asked, swapped, "orders.py is not what", kind=DigestError)
        added = with_files(bundle, **{"c.py": b""})
        await self.refused(asked, added, "c.py is in the source and not", kind=DigestError)
        less = with_files(bundle, without={"b.py"})
        await self.refused(asked, less, "b.py is in the manifest and not", kind=DigestError)

    async def test_another_manifest_than_the_signed_one_is_refused(self, trust):
        asked, bundle = trust(pinned(OWNER)), OWNER.bundle()
        for other in (OWNER.bundle("2.0.0"), OWNER.bundle(more='description = "x"')):
            mixed = replace(bundle, manifest=other.manifest)
            with pytest.raises(TrustError, match="not the one that was signed"):
                await asked.check(mixed, NOW)
        twice = with_files(bundle, **{"sub/aegis.toml": OTHER.bundle().files[FILE]})
        await self.refused(asked, twice, "sub/aegis.toml is in the source", kind=DigestError)

    async def test_a_signature_and_a_manifest_expire(self, trust):
        asked = trust(pinned(OWNER))
        soon = NOW + timedelta(days=1)
        end = "2026-03-02T00:00:00.000Z"
        for bundle, what in (
            (OWNER.bundle(expires=end), "signature"),
            (OWNER.bundle(more=f'expires = "{end}"'), "manifest"),
            (OWNER.bundle(more='expires = "2026-03-02T01:00:00+01:00"'), "manifest"),
        ):
            assert await asked.check(bundle, soon - timedelta(milliseconds=1))
            await self.refused(asked, bundle, f"its {what} has expired", now=soon)

    @pytest.mark.parametrize("time", ["tomorrow", "2026-13-01T00:00:00Z", "2027-01-01T00:00:00"])
    async def test_an_end_that_is_no_time_is_refused(self, trust, time):
        bundle = OWNER.bundle(more=f'expires = "{time}"')
        await self.refused(trust(pinned(OWNER)), bundle, "is no time")

    async def test_what_is_signed_in_the_future_is_refused_but_for_some_minutes(self, trust):
        asked = trust(pinned(OWNER))
        await asked.check(OWNER.bundle(signed="2026-03-01T00:04:00.000Z"), NOW)
        late = OWNER.bundle(signed="2026-03-01T00:06:00.000Z")
        await self.refused(asked, late, "still to come")

    async def test_what_is_said_to_need_no_signature_needs_none_but_true_digests(self, trust):
        local = "http://127.0.0.1:8080/orders/"
        asked = trust(Trusted(unsigned=("http://127.0.0.1:*/",)))
        bundle = OWNER.bundle(address=local)
        assert await asked.check(with_files(bundle, without={SIGNATURE}), NOW) is None
        swapped = with_files(bundle, **{"orders.py": b"1"})
        await self.refused(asked, swapped, "orders.py is not what", kind=DigestError)
        with pytest.raises(TrustError, match="nobody is trusted"):
            await asked.check(OWNER.bundle(address="http://127.0.0.1.evil.example/"), NOW)

    async def test_a_pin_below_an_unsigned_address_counts(self, trust):
        asked = trust(pinned(OWNER, unsigned=("github:acme/*",)))
        await self.refused(asked, OTHER.bundle(), "not pinned")
        unsigned = OTHER.bundle(address="github:acme/shipping")
        assert await asked.check(with_files(unsigned, without={SIGNATURE}), NOW) is None

    async def test_an_address_that_names_its_content_needs_no_signature(self, trust):
        named = OWNER.bundle(address=f"{HOME}#sha256={'0' * 64}")
        assert await trust(Trusted()).check(with_files(named, without={SIGNATURE}), NOW) is None
        with pytest.raises(TrustError, match="nobody is trusted"):
            await trust(Trusted()).check(replace(named, address=f"{HOME}#sha256=00"), NOW)

    async def test_one_older_version_is_let_in_by_its_name(self, trust):
        asked = trust(pinned(OWNER, older=(Allowed(HOME, "orders", "1.0.0"),)))
        assert (await asked.check(OWNER.bundle(), NOW)).older is True
        assert (await asked.check(OWNER.bundle("1.0.1"), NOW)).older is False

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"{}",
            b"[]",
            b"null",
            b"\xff\xfe",
            b"\0" * 100,
            b"x" * 10_000,
            b"[" * 3000,
            b'{"format": 2, "signature": {"new": "kind"}}',
            b'{"format": true}',
            b'{"format": 1}',
        ],
    )
    async def test_what_is_no_signature_is_refused(self, trust, content):
        bundle = with_files(OWNER.bundle(), **{SIGNATURE: content})
        await self.refused(trust(pinned(OWNER)), bundle, "aegis.sig")

    async def test_there_is_one_text_for_a_signature(self, trust):
        bundle = OWNER.bundle()
        said = bundle.signature
        for other in (
            said + b"\n",
            said.replace(b"  ", b"\t"),
            said.replace(b'"format": 1', b'"format": 1.0'),
            said.replace(b"ed25519", b"\\u0065d25519"),
            said.replace(b'"expires": null', b'"expires": null, "more": 1'),
            said.replace(b'"expires": null', b'"expires": null, "expires": null'),
            said.replace(b"ed25519:", b"rsa:"),
            said.replace(b"ed25519:", b"ed25519:AA"),
            said.replace(b"==\n", b"=\n"),
        ):
            if other != said:
                moved = with_files(bundle, **{SIGNATURE: other})
                await self.refused(trust(pinned(OWNER)), moved, "aegis.sig")

    async def test_a_shorter_signature_is_refused(self, trust):
        bundle = OWNER.bundle()
        value = bundle.signature.rpartition(b'"signature": "')[2].partition(b'"')[0]
        for other in (value[:-4], value[:-2], value + b"AAAA", b"", value.replace(b"=", b"")):
            moved = with_files(bundle, **{SIGNATURE: bundle.signature.replace(value, other)})
            await self.refused(trust(pinned(OWNER)), moved, "aegis.sig")

    @pytest.mark.parametrize(
        "address",
        [
            "github:acme-evil/orders",
            "github:acme/orders-evil",
            "github:acme/Orders",
            "github:ACME/orders",
            "gitlab:acme/orders",
            "github:acmе/orders",  # noqa: RUF001 -- a look-alike of another alphabet
            "github:acme\u200b/orders",
            "github:acme/../evil/orders",
            "github:acme/orders/../../evil",
            "github:evil/acme/orders",
            "github:acme%2forders",
            "github:acme//orders",
            "https://github.com/acme/orders",
            "github:",
            "",
        ],
    )
    async def test_what_only_looks_like_a_pinned_address_is_another_one(self, trust, address):
        await self.refused(trust(pinned(OWNER)), OWNER.bundle(address=address), "nobody is trusted")

    @pytest.mark.parametrize(
        "address",
        [HOME, f"{HOME}/", f"{HOME}@1.0.0", f"{HOME}@feature/x", f"{HOME}/sub", f"{HOME}#orders"],
    )
    async def test_refs_choices_and_folders_are_of_their_address(self, trust, address):
        assert await trust(pinned(OWNER)).check(OWNER.bundle(address=address), NOW)

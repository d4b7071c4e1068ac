"""Which versions the tags of a repository name: `v1.2.3`, and of a folder `orders-v1.2.3`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from aegis.core.address import Address
from aegis.core.bundle import Offer
from aegis.core.errors import SourceError, closest
from aegis.core.semver import is_version, newest, ordered


def offers(tags: Iterable[str], address: Address) -> list[Offer]:
    """The versions that tags name, oldest first, each with its tag.

    Of a folder, or a component that is chosen, those that name it, if there are such: a release of
    a neighbour is none of its own.
    """
    names = {address.component, address.path, address.path.rpartition("/")[2]} - {""}
    own: dict[str, str] = {}
    plain: dict[str, str] = {}
    for tag in sorted(tags):  # so that of 1.2.0 and v1.2.0 the latter counts
        version = tag.removeprefix("v")
        if is_version(version):
            plain[version] = tag
        for name in names:
            for mark in "-/@":
                version = tag.removeprefix(f"{name}{mark}").removeprefix("v")
                if tag.startswith(f"{name}{mark}") and is_version(version):
                    own[version] = tag
    found = own or plain
    return [Offer(version=version, ref=found[version]) for version in ordered(found)]


def chosen(tags: Mapping[str, str], address: Address) -> Offer:
    """The tag that the ref of an address means; `version` is empty of one that names none.

    A tag of just that name goes before the range that the name could be. Raises SourceError.
    """
    if address.ref in tags:
        version = address.ref.removeprefix("v")
        return Offer(version=version if is_version(version) else "", ref=address.ref)
    known = offers(tags, address)
    version = newest([one.version for one in known], address.ref) or ""
    if not version:
        said = ", ".join(one.version for one in known[-5:])
        raise SourceError(
            f"{address.source} has no version in {address.ref}",
            hint=f"its newest are {said}" if said else closest(address.ref, tags) or _NO_TAGS,
        )
    return next(one for one in known if one.version == version)


_NO_TAGS = "it has no tag that is a version, as v1.2.0 is; a branch is @main"

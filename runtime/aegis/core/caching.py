"""How much of what is stored a host keeps in memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import msgspec

Most = Annotated[int, msgspec.Meta(ge=0)]


class Caching(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Table `[cache]` of aegis.toml: the records that were used last stay in memory.

    All models share one cache of up to `records` records and `bytes` bytes. One that says
    `class Order(Model, cache=1000)`, or is named in `models` (`"orders.Order" = 1000`), which goes
    first, has a cache of so many records to itself, of `bytes` bytes at most as well; 0 is none.
    """

    records: Most = 50_000
    bytes: Most = 64 << 20
    models: Mapping[str, Most] = {}

"""The author's Model: frozen, typed data with ports and commands.

At run time a Model is a `msgspec.Struct` (made, copied, encoded and checked in well under a
microsecond); type checkers see a plain frozen dataclass with an `id`, because Struct's own
declaration hides the missing and frozen fields of a subclass from mypy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, Self, dataclass_transform

import msgspec

from aegis.core.rule import masked

if TYPE_CHECKING:

    @dataclass_transform(kw_only_default=True, frozen_default=True)
    class _Data:
        def __init_subclass__(
            cls,
            *,
            endpoint: str | None = None,
            concurrency: Literal["etag", "last-wins"] = "etag",
            index: str | Sequence[str] = (),
            store: str | None = None,
            cache: int | None = None,
        ) -> None: ...

    class Model(_Data):
        """Frozen, typed data that the host stores; subclass it, name its endpoint, add ports.

        `index="status,-_created"` has the store keep these fields ready for queries that compare
        with the first ones and sort by the last; several are a tuple. `store="files"` keeps the
        records in that datasource: `memory`, `files`, `sqlite`, `duckdb`, one that aegis.toml
        names, or a class of the component. `cache=1000` keeps so many of its records in memory,
        apart from those of other models, and `cache=0` none.
        """

        id: str = ""

        def update(self, **changes: Any) -> Self:
            """A copy with `changes`; nothing is written until a port or command returns it."""
            ...

else:

    class _ModelMeta(type(msgspec.Struct)):
        """Makes every Model a frozen, keyword-only Struct and keeps what its class line says."""

        def __new__(
            mcls,
            name,
            bases,
            namespace,
            *,
            endpoint=None,
            concurrency="etag",
            index=(),
            store=None,
            cache=None,
            **options,
        ):
            if options:
                raise TypeError(
                    f"model {name} takes endpoint=, concurrency=, index=, store= and cache=, "
                    f"not {', '.join(options)}="
                )
            if concurrency not in ("etag", "last-wins"):
                raise TypeError(f"model {name}: concurrency is 'etag' or 'last-wins'")
            if cache is not None and (type(cache) is not int or cache < 0):
                raise TypeError(f"model {name}: cache is a number of records, 0 for none")
            namespace["__aegis_endpoint__"] = endpoint
            namespace["__aegis_cache__"] = cache
            namespace["__aegis_concurrency__"] = concurrency
            namespace["__aegis_index__"] = (index,) if isinstance(index, str) else tuple(index)
            if not (store is None or (isinstance(store, str) and store)):
                raise TypeError(f"model {name}: store is the name of a datasource")
            namespace["__aegis_store__"] = store
            return super().__new__(mcls, name, bases, namespace, frozen=True, kw_only=True)

    class Model(msgspec.Struct, metaclass=_ModelMeta):
        """Frozen, typed data that the host stores; subclass it, name its endpoint, add ports."""

        id: str = ""

        def update(self, **changes):
            """A copy with `changes`; nothing is written until a port or command returns it."""
            return msgspec.structs.replace(self, **changes)

        def __repr__(self):
            # It ends in logs and saved notebooks.
            shown = (f"{name}={value!r}" for name, value in masked(self).items())
            return f"{type(self).__name__}({', '.join(shown)})"

        def __rich_repr__(self):
            yield from masked(self).items()


RESERVED = frozenset({"update"})

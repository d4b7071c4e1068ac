"""What an author marks as a relation, and the links that a record has by it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, Literal, Self, TypeVar, get_args, overload

from aegis.core.clause import Clause
from aegis.core.errors import AegisError, InvalidError
from aegis.core.relation import OnDelete, RelationSpec
from aegis.engine.context import current

if TYPE_CHECKING:
    from aegis.engine.reach import Reach
    from aegis.engine.work import Work

M = TypeVar("M")
V = TypeVar("V")
L = TypeVar("L")


class _Link(Generic[M]):
    """The records that one record relates to, as the unit of work under way sees them."""

    def __init__(self, relation: Relation[Any], record: Any) -> None:
        self._relation = relation
        self._record = record

    def _reach(self) -> tuple[Reach, Work, RelationSpec]:
        work = current(f"the relation {self._relation.name!r}")
        spec = self._relation.spec
        if work.reach is None or spec is None:
            raise AegisError(
                f"the relation {self._relation.name!r} can be followed where a host runs the code",
                hint=f"outside of it: host.related(record, {self._relation.name!r})",
            )
        return work.reach, work, spec

    async def create(self, **data: Any) -> M:
        """Create one, stored with what the unit of work under way returns, or not at all.

        Where the other side holds the id of this record it is filled in. It may be given an `id`,
        such as that of this record. Raises InvalidError, and ConflictError for an id that there is.
        """
        reach, work, spec = self._reach()
        made: M = reach.create(work, spec, self._record, data)
        return made


class One(_Link[M]):
    """A record that there is."""

    async def __call__(self) -> M:
        """The record. Raises NotFoundError when there is none."""
        reach, work, spec = self._reach()
        found: M = await reach.one(work, spec, self._record)
        return found


class Many(_Link[M]):
    """Records."""

    async def __call__(
        self, *clauses: Clause, sort: str | None = None, limit: int = 100, **filters: Any
    ) -> list[M]:
        """Those of which all `clauses` and `filters` are true (see Host.query), `limit` at most."""
        reach, work, spec = self._reach()
        return await reach.many(work, spec, self._record, clauses, filters, sort, limit)

    async def count(self, *clauses: Clause, **filters: Any) -> int:
        """How many of them there are."""
        reach, work, spec = self._reach()
        return await reach.count(work, spec, self._record, clauses, filters)


class Relation(Generic[L]):
    """A relation as it was marked; read from a record it is its link.

    `spec` is what the loader makes of it.
    """

    def __init__(
        self,
        link: type[Any],
        target: type[Any] | str,
        *,
        view: type[Any] | None = None,
        via: str | None = None,
        by: str | None = None,
        many: bool = False,
        optional: bool = False,
        on_delete: OnDelete | None = None,
        where: Callable[[Any], Clause] | None = None,
    ) -> None:
        self.link = link
        self.target = target
        self.view = view
        self.via = via
        self.by = by
        self.many = many
        self.optional = optional
        self.on_delete: OnDelete | None = on_delete
        self.where = where
        self.name = "" if where is None else where.__name__
        self.__doc__ = None if where is None else where.__doc__
        self.spec: RelationSpec | None = None

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...
    @overload
    def __get__(self, instance: object, owner: type) -> L: ...
    def __get__(self, instance: object | None, owner: type) -> Self | L:
        if instance is None:
            return self
        link: L = self.link(self, instance)
        return link


# A view is typed as what makes one, because mypy takes no Protocol for a `type[V]`.
@overload
def relation(
    target: str, view: Callable[..., V], /, *, via: str, on_delete: OnDelete | None = None
) -> Relation[One[V]]: ...
@overload
def relation(
    target: str,
    view: Callable[..., V],
    /,
    *,
    via: str,
    many: Literal[True],
    on_delete: OnDelete | None = None,
) -> Relation[Many[V]]: ...
@overload
def relation(
    target: str, view: Callable[..., V], /, *, by: str, on_delete: OnDelete | None = None
) -> Relation[Many[V]]: ...
@overload
def relation(
    target: str,
    view: Callable[..., V],
    /,
    *,
    by: str,
    many: Literal[False],
    on_delete: OnDelete | None = None,
) -> Relation[One[V | None]]: ...
@overload
def relation(
    target: str, view: Callable[..., V], /
) -> Callable[[Callable[[Any], Clause]], Relation[Many[V]]]: ...
@overload
def relation(
    target: type[M], /, *, via: str, on_delete: OnDelete | None = None
) -> Relation[One[M]]: ...
@overload
def relation(
    target: type[M], /, *, via: str, many: Literal[True], on_delete: OnDelete | None = None
) -> Relation[Many[M]]: ...
@overload
def relation(
    target: type[M], /, *, by: str, on_delete: OnDelete | None = None
) -> Relation[Many[M]]: ...
@overload
def relation(
    target: type[M], /, *, by: str, many: Literal[False], on_delete: OnDelete | None = None
) -> Relation[One[M | None]]: ...
@overload
def relation(target: type[M], /) -> Callable[[Callable[[Any], Clause]], Relation[Many[M]]]: ...
@overload
def relation(
    target: str, /, *, via: str, on_delete: OnDelete | None = None
) -> Relation[One[Any]]: ...
@overload
def relation(
    target: str, /, *, via: str, many: Literal[True], on_delete: OnDelete | None = None
) -> Relation[Many[Any]]: ...
@overload
def relation(
    target: str, /, *, by: str, on_delete: OnDelete | None = None
) -> Relation[Many[Any]]: ...
@overload
def relation(
    target: str, /, *, by: str, many: Literal[False], on_delete: OnDelete | None = None
) -> Relation[One[Any]]: ...
@overload
def relation(target: str, /) -> Callable[[Callable[[Any], Clause]], Relation[Many[Any]]]: ...
def relation(
    target: type[Any] | str,
    view: Any = None,
    /,
    *,
    via: str | None = None,
    by: str | None = None,
    many: bool | None = None,
    on_delete: OnDelete | None = None,
) -> Any:
    """Relate a model to another: `customer = relation("customers.Customer", via="customer_id")`.

    `target` is a model of the component, or the name of one (`Line`, `customers.Customer`). Of
    another component's `view` is what is needed of it: a Protocol, a dataclass or a Struct with
    some of its fields. `via` is the field here that holds the id of the target (with `many` a list
    of ids, or `items.item_id` in a list of objects); `by` the field there that holds the id of this
    record, of many of them or, with `many=False`, of one or none. With neither it marks a method
    that returns the clause (`all_of(...)`) of those that are meant.

    An id that is stored must be that of a record. `on_delete` says what the end of that record
    means for those that point to it: it is refused ("refuse"), they end too ("cascade"), they
    forget it ("clear"), or nothing ("ignore").
    """
    if via is not None and by is not None:
        raise InvalidError(
            f"a relation to {target!r} is held here (`via`) or there (`by`), not at both ends"
        )
    known = get_args(OnDelete)
    if on_delete is not None and str(on_delete) not in known:
        raise InvalidError(f"on_delete is one of {', '.join(known)}, not {on_delete!r}")
    if via is None and by is None:

        def mark(fn: Callable[[Any], Clause]) -> Relation[Any]:
            return Relation(Many, target, view=view, many=True, where=fn)

        return mark
    several = by is not None if many is None else many
    return Relation(
        Many if several else One,
        target,
        view=view,
        via=via,
        by=by,
        many=several,
        optional=by is not None and not several,
        on_delete=on_delete,
    )

"""Reads what a caller asks of a model's records: clauses and fields become typed conditions."""

from __future__ import annotations

import decimal
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, get_args

import msgspec

from aegis.core.canonical import HASH
from aegis.core.clause import Clause
from aegis.core.column import STAMPS, Column, Columns
from aegis.core.component import ENCODER
from aegis.core.errors import BadRequestError, closest
from aegis.core.query import Condition, Every, Not, Op, Some, Term

MAX_TERMS = 50  # of a query
MAX_VALUES = 200  # of one `in`
MAX_DEPTH = 8  # of clauses in clauses
MAX_TEXT = 1000  # characters of a value

OPERATORS = tuple(op for op in get_args(Op) if op != "has")
_PARTS = ("prefix", "contains")


class Reading:
    """Reads what is asked of one model, all of it a single query.

    `joint` is what stands between a field and its operator, and between a field and one inside it;
    `words` may have been meant as well as fields. Everything raises BadRequestError, naming what is
    wrong in `parameter`.
    """

    def __init__(self, columns: Columns, *, joint: str = "__", words: Sequence[str] = ()) -> None:
        self._columns = columns
        self._joint = joint
        self._words = words
        self._terms = 0

    def where(
        self, clauses: Iterable[Clause], fields: Mapping[str, Any], *, as_text: bool = False
    ) -> tuple[Condition, ...]:
        """The conditions that must all hold; `as_text` says that the values of `fields` are text.

        Then `in` takes values with commas between them, and `null` is null where that may be.
        """
        said = [self._term(name, value, as_text=as_text) for name, value in fields.items()]
        return (*said, *(self._clause(clause, 1) for clause in clauses))

    def _clause(self, clause: Any, depth: int) -> Condition:
        if not isinstance(clause, Clause):
            raise BadRequestError(
                f"{clause!r} is no condition", hint="as in `any_of(total__ge=100, paid=True)`"
            )
        if depth > MAX_DEPTH:
            raise BadRequestError(f"clauses go up to {MAX_DEPTH} deep", parameter="where")
        parts: tuple[Condition, ...] = (
            *(self._term(name, value) for name, value in clause.fields.items()),
            *(self._clause(part, depth + 1) for part in clause.parts),
        )
        if not parts:
            raise BadRequestError(f"`{clause.kind}` says nothing", parameter="where")
        if clause.kind == "any":
            return Some(parts)
        return Every(parts) if clause.kind == "all" else Not(Every(parts))

    def _term(self, spelled: str, given: Any, *, as_text: bool = False) -> Term:
        self._terms += 1
        if self._terms > MAX_TERMS:
            raise BadRequestError(f"a query takes up to {MAX_TERMS} conditions", parameter=spelled)
        path, column, op = self._find(spelled)
        value = _Value(spelled, path, column, as_text=as_text)
        if column.sealed:
            return self._sealed(path, column, op, value, given, spelled)
        if op == "exists":
            return Term(path, value.flag(given), column.kind, op="exists")
        if column.shape == "list" and op == "contains":
            return Term(path, value.one(given), column.kind, op="has")
        if column.shape != "one":
            raise BadRequestError(
                f"{self._columns.model}.{path} is no single value, so nothing can filter by it",
                hint=self._inside(path, column),
                parameter=spelled,
            )
        if op in _PARTS:
            return Term(path, value.part(given, op), column.kind, op=op)
        if op == "in":
            return Term(path, value.several(given), column.kind, op="in")
        null = value.is_null(given) and op in ("eq", "ne")
        return Term(path, None if null else value.one(given), column.kind, op=op)

    def _sealed(
        self, path: str, column: Column, op: Op, value: _Value, given: Any, spelled: str
    ) -> Term:
        """What asks for a value of a sealed field, by what stands for it where it is stored."""
        if op == "exists":
            return Term(path, value.flag(given), op="exists")
        token = self._columns.token
        if op not in ("eq", "ne", "in") or column.shape != "one" or token is None:
            raise BadRequestError(
                f"{self._columns.model}.{path} is sealed where it is stored: it can be asked for "
                "equal values (eq, ne, in) and whether it is there, nothing else",
                parameter=spelled,
            )
        if op == "in":
            values = value.several(given)
            tokens = tuple(None if one is None else token(path, one) for one in values)
            return Term(f"{path}.{HASH}", tokens, op="in")
        if value.is_null(given):
            return Term(path, None, op=op)
        return Term(f"{path}.{HASH}", token(path, value.one(given)), op=op)

    def _find(self, spelled: str) -> tuple[str, Column, Op]:
        """The field that is meant and the operator; a field of the whole name goes first."""
        known = self._columns.known
        name = spelled if spelled in known else spelled.replace(self._joint, ".")
        if name in known:
            return name, known[name], "eq"
        path, _, last = spelled.rpartition(self._joint)
        path = path if path in known else path.replace(self._joint, ".")
        op = next((one for one in OPERATORS if one == last), None)
        if path in known and op is not None:
            return path, known[path], op
        model = self._columns.model
        if path in known and known[path].shape != "other":
            raise BadRequestError(
                f"{model}.{path} has no operator {last[:80]!r}",
                hint=closest(last, OPERATORS) or f"there are: {', '.join(OPERATORS)}",
                parameter=spelled,
            )
        likely = closest(name, [*known, *self._words]) if op is None else closest(path, known)
        raise BadRequestError(
            f"{model} has no field {(name if op is None else path)[:80]!r} to filter by",
            hint=likely,
            parameter=spelled,
        )

    def _inside(self, path: str, column: Column) -> str | None:
        if column.shape == "list":
            return f"`{path}{self._joint}contains` looks for one of its values"
        inner = next((name for name in self._columns.known if name.startswith(f"{path}.")), None)
        return None if inner is None else f"as in `{inner.replace('.', self._joint)}`"


class _Value:
    """Reads a value for one field; `as_text` says that it comes as text."""

    def __init__(self, spelled: str, path: str, column: Column, *, as_text: bool) -> None:
        self._spelled = spelled
        self._path = path
        self._column = column
        self._as_text = as_text

    def is_null(self, given: Any) -> bool:
        """Whether null is meant."""
        return given is None or (self._as_text and self._column.nullable and given == "null")

    def flag(self, given: Any) -> bool:
        """True or false."""
        if self._as_text and given in ("true", "false"):
            return bool(given == "true")
        if isinstance(given, bool):
            return given
        raise self._wrong(given, "Expected true or false")

    def several(self, given: Any) -> tuple[Any, ...]:
        """The values of an `in`."""
        if self._as_text:
            given = given.split(",")
        if not isinstance(given, list | tuple | set | frozenset):
            raise self._wrong(given, "Expected a list of values")
        if len(given) > MAX_VALUES:
            raise self._wrong("...", f"Expected up to {MAX_VALUES} values")
        return tuple(None if self.is_null(one) else self.one(one) for one in given)

    def part(self, given: Any, op: str) -> str:
        """Text that is looked for in text."""
        if not self._column.text:
            raise BadRequestError(
                f"{self._path} is no text, so it has no {op}", parameter=self._spelled
            )
        if not isinstance(given, str):
            raise self._wrong(given, "Expected text")
        return self._short(given)

    def one(self, given: Any) -> str | int | float | bool:
        """A value as it stands in a stored document."""
        if isinstance(given, str):
            self._short(given)
        if self._path in STAMPS:
            return self._stamp(given)
        kind, asked = self._column.type, self._column.asked
        try:
            if asked is not None:
                given = asked.stored(given, as_text=self._as_text)
            if self._as_text and asked is None:
                value = msgspec.convert(given, kind, strict=False)
            else:
                value = msgspec.json.decode(ENCODER.encode(given), type=kind)
        except (msgspec.MsgspecError, TypeError, ValueError, OverflowError) as error:
            raise self._wrong(given, str(error)) from error
        if isinstance(value, float | decimal.Decimal) and not decimal.Decimal(value).is_finite():
            raise self._wrong(given, "not a finite number")
        stored: str | int | float | bool = msgspec.json.decode(ENCODER.encode(value))
        return stored

    def _stamp(self, given: Any) -> str:
        """A time as the host writes it: RFC 3339 in UTC with milliseconds; a day is its begin."""
        try:
            when = datetime.fromisoformat(given if isinstance(given, str) else given.isoformat())
            when = when if when.tzinfo is not None else when.replace(tzinfo=UTC)
            text = when.astimezone(UTC).isoformat(timespec="milliseconds")
        except (AttributeError, TypeError, ValueError, OverflowError) as error:
            raise self._wrong(given, "Expected a time, as in 2026-11-23T10:00:00Z") from error
        return text.replace("+00:00", "Z")

    def _short(self, text: str) -> str:
        if len(text) > MAX_TEXT:
            raise self._wrong(text, f"Expected up to {MAX_TEXT} characters")
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise self._wrong("...", "Expected Unicode text") from error
        return text

    def _wrong(self, given: Any, why: str) -> BadRequestError:
        if self._column.sealed:
            text = f"{self._spelled}: that is no value of {self._path}"
            return BadRequestError(text, parameter=self._spelled)
        said = given if isinstance(given, str) else repr(given)
        return BadRequestError(f"{self._spelled}={said[:80]!r}: {why}", parameter=self._spelled)

"""The query of a list route: filters typed by the model, an order, a page, the next one's link."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal
from urllib.parse import quote, urlencode

import msgspec

from aegis.api.request import Request
from aegis.core.clause import Clause
from aegis.core.component import ModelSpec
from aegis.core.errors import BadRequestError
from aegis.core.query import MAX_LIMIT, Query, read_cursor
from aegis.core.reading import MAX_DEPTH, Reading

DEFAULT_LIMIT = 100
RESERVED = ("sort", "limit", "cursor", "token", "fields", "count", "where", "expand")
MAX_WHERE = 8000  # characters
LAST = 2**53  # numbers beyond it are not whole in JavaScript

_CLAUSES: tuple[Literal["all", "any", "not"], ...] = ("all", "any", "not")
_OBJECT = msgspec.json.Decoder(dict[str, Any])


class Asked(msgspec.Struct, frozen=True):
    """What a list route is asked for: a query, of each record only `fields`, and the `count`.

    `expand` names relations.
    """

    query: Query
    fields: tuple[str, ...] | None = None
    count: bool = False
    expand: str = ""


def read_query(spec: ModelSpec, parameters: list[tuple[str, str]], *, whole: bool = False) -> Asked:
    """What the list route's parameters mean. Raises BadRequestError naming the parameter.

    `whole` says that the answer comes as one stream: without a limit it is all there is.
    """
    given: dict[str, str] = {}
    for name, value in parameters:
        if name in given:
            raise BadRequestError(f"the parameter {name!r} is given twice", parameter=name)
        given[name] = value
    given.pop("token", None)
    most = LAST if whole else MAX_LIMIT
    limit = _limit(given.pop("limit", None), most if whole else DEFAULT_LIMIT, most)
    sort = spec.public_columns.sort(given.pop("sort", None))
    after = read_cursor(given.pop("cursor", None), sort)
    fields = given.pop("fields", None)
    count = _flag(spec, given.pop("count", "false"))
    expand = given.pop("expand", "")
    clause = given.pop("where", None)
    clauses = () if clause is None else (_clause(clause),)
    return Asked(
        Query(
            where=Reading(spec.public_columns, joint=".", words=RESERVED).where(
                clauses, given, as_text=True
            ),
            sort=sort,
            limit=limit,
            after=after,
        ),
        None if fields is None else spec.public_columns.names(fields),
        count,
        expand,
    )


def _flag(spec: ModelSpec, text: str) -> bool:
    if text in ("true", "false"):
        return text == "true"
    hint = f"{spec.name}.count is asked as `count.eq`" if "count" in spec.fields else None
    raise BadRequestError(
        f"count is true or false, not {text[:40]!r}", hint=hint, parameter="count"
    )


def _clause(text: str) -> Clause:
    """The clause that a JSON object means: `{"any": [{"total.ge": 100}, {"status": "NEW"}]}`."""
    if len(text) > MAX_WHERE:
        raise BadRequestError(f"where takes up to {MAX_WHERE} characters", parameter="where")
    try:
        return _clause_of("all", _OBJECT.decode(text), 0)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError) as error:
        raise BadRequestError(
            f"where is no JSON object: {error}",
            hint='as in {"any": [{"total.ge": 100}, {"status": "NEW"}]}',
            parameter="where",
        ) from error


def _clause_of(kind: Literal["all", "any", "not"], said: Any, depth: int) -> Clause:
    """A clause of an object, whose members must all hold, or of a list of such."""
    if depth > MAX_DEPTH:
        raise BadRequestError(f"clauses go up to {MAX_DEPTH} deep", parameter="where")
    if isinstance(said, list):
        return Clause(kind, tuple(_clause_of("all", one, depth + 1) for one in said))
    if not isinstance(said, dict):
        raise BadRequestError(
            f"where: `{kind}` takes conditions, not {said!r:.40}", parameter="where"
        )
    parts = [_clause_of(word, said[word], depth + 1) for word in _CLAUSES if word in said]
    fields = {name: value for name, value in said.items() if name not in _CLAUSES}
    return Clause(kind, tuple(parts), fields)


def accepts(request: Request, type: str) -> bool:
    """Whether the caller accepts `type` by name."""
    for choice in request.headers.get("accept", "").lower().split(","):
        kind, *parameters = (part.strip() for part in choice.split(";"))
        if kind == type:
            return not any(p.startswith("q=") and not p[2:].strip("0.") for p in parameters)
    return False


def next_link(path: str, parameters: list[tuple[str, str]], cursor: str) -> str:
    """The Link header's value for the following page; it carries no token."""
    kept = [(name, value) for name, value in parameters if name not in {"cursor", "token"}]
    return f'<{path}?{urlencode([*kept, ("cursor", cursor)], quote_via=quote)}>; rel="next"'


def read_number(parameters: Mapping[str, str], name: str, default: int, most: int) -> int:
    """A whole number from 0 to `most` among `parameters`. Raises BadRequestError."""
    text = parameters.get(name)
    if text is None:
        return default
    # isdigit() takes digits of all scripts, and int() refuses thousands of them.
    if not (text.isascii() and text.isdigit() and len(text) <= 18) or int(text) > most:
        raise BadRequestError(
            f"{name} must be a whole number from 0 to {most}, not {text[:40]!r}", parameter=name
        )
    return int(text)


def _limit(text: str | None, default: int, most: int) -> int:
    limit = read_number({} if text is None else {"limit": text}, "limit", default, most)
    if limit == 0:
        raise BadRequestError(f"limit must be from 1 to {most}, not 0", parameter="limit")
    return limit

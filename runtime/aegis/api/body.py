"""A request's JSON body as checked data, and what is wrong with it said by field."""

from __future__ import annotations

import re
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import msgspec

from aegis.api.request import Request
from aegis.core.errors import BadRequestError, InvalidError, UnsupportedTypeError, closest
from aegis.core.rule import Rules
from aegis.core.serializer import Decoder

_JSON = re.compile(r"application/(?:json|[\w.!#$&^+-]+\+json)\s*(?:;|$)", re.IGNORECASE)
_MESSAGE = re.compile(r"^(?P<what>.*?)(?: - at `(?P<path>.*)`)?$", re.DOTALL)
_FIELD = re.compile(r"(?P<kind>unknown|missing required) field `(?P<name>.*)`$", re.DOTALL)
_STEP = re.compile(r"\.(?P<name>[^.\[]+)|\[(?P<index>\d+)\]")
_NOT_FINITE = re.compile(rb"nan|inf", re.IGNORECASE)


def decode(
    request: Request,
    decoder: Decoder,
    fields: Iterable[str],
    rules: Rules | None = None,
) -> Any:
    """The body as what `decoder` says; `fields` are the names to suggest for an unknown one.

    By the `rules` of its model an error tells no value of a sealed field.
    Raises UnsupportedTypeError, BadRequestError when it is no JSON, InvalidError with the JSON
    pointer of what breaks the schema.
    """
    check_type(request)
    return decode_text(request.body, decoder, fields, rules)


def check_type(request: Request) -> None:
    """Refuse a body that does not say it is JSON."""
    given = request.headers.get("content-type")
    if given is None or not _JSON.match(given):
        raise UnsupportedTypeError(
            f"the body's type is {given!r}, not JSON" if given else "the body names no type",
            hint="send `Content-Type: application/json`",
        )


def decode_text(
    text: bytes,
    decoder: Decoder,
    fields: Iterable[str] = (),
    rules: Rules | None = None,
) -> Any:
    """As `decode`, of the text alone."""
    try:
        value = decoder.decode(text)
    except msgspec.ValidationError as error:
        # Without a path it is the body itself that is wrong.
        said = str(error) if rules is None else rules.unsaid(str(error))
        invalid = located(InvalidError(said), fields)
        invalid.fields.setdefault("pointer", "")
        raise invalid from error
    except (ValueError, RecursionError) as error:
        if not text.strip():
            raise BadRequestError("the body is empty", hint="send a JSON object") from error
        if isinstance(error, RecursionError):
            raise BadRequestError("the body is nested too deep") from error
        raise BadRequestError(f"the body is no JSON: {error}") from error
    if _NOT_FINITE.search(text):
        # `"NaN"` is a Decimal to Python, but no amount: it would fail in the first comparison.
        pointer = _not_finite(value, "")
        if pointer is not None:
            raise InvalidError("not a finite number", pointer=pointer)
    return value


def located(error: InvalidError, fields: Iterable[str] = ()) -> InvalidError:
    """`error` with the path that msgspec puts at the end of its message as a JSON pointer.

    That is how the engine's own checks of a value speak, too. `fields` are the names to suggest
    for an unknown one.
    """
    known = error.fields.get("pointer")
    match = _MESSAGE.match(error.detail)
    if match is None or (isinstance(known, str) and not known.startswith("$")):
        return error
    what, path = match["what"], match["path"]
    pointer = "".join(
        f"/{_escaped(step['name'] or step['index'])}" for step in _STEP.finditer(path or "")
    )
    hint = error.hint
    field = _FIELD.search(what)
    if field is not None:
        pointer = f"{pointer}/{_escaped(field['name'])}"
        if field["kind"] == "unknown":
            hint = hint or closest(field["name"], fields)
            if pointer == "/id":
                hint = "the host makes ids"
    elif path is None:
        return error
    return InvalidError(what, hint=hint, **{**error.fields, "pointer": pointer})


def _escaped(name: str) -> str:
    """A name within a JSON pointer (RFC 6901)."""
    return name.replace("~", "~0").replace("/", "~1")


def _not_finite(value: Any, pointer: str) -> str | None:
    """The pointer of a number that is none, if `value` holds one."""
    if isinstance(value, Decimal):
        return None if value.is_finite() else pointer
    if isinstance(value, float):
        return None if value - value == 0 else pointer
    if isinstance(value, msgspec.Struct):
        info = msgspec.structs.fields(value)
        inner = [(item.encode_name, getattr(value, item.name)) for item in info]
    elif isinstance(value, dict):
        inner = [(str(key), item) for key, item in value.items()]
    elif isinstance(value, list | tuple | set | frozenset):
        inner = [(str(index), item) for index, item in enumerate(value)]
    else:
        return None
    found = (_not_finite(item, f"{pointer}/{_escaped(name)}") for name, item in inner)
    return next((at for at in found if at is not None), None)

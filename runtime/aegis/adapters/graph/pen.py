"""Writes the parts of an SVG: names, numbers and paths, and how much room a text takes."""

from __future__ import annotations

import re
from html import escape
from unicodedata import east_asian_width

NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def cells(text: str) -> int:
    """How many columns `text` takes, a wide character two."""
    if text.isascii():
        return len(text)
    return sum(2 if east_asian_width(char) in "WF" else 1 for char in text)


def extent(text: str, size: float) -> float:
    """About how many px `text` takes at font size `size`, rather more than less."""
    return cells(text) * size * 0.6


def xml(text: str) -> str:
    """`text` as content or attribute of an element, whatever it holds."""
    return escape(NOT_XML.sub("\ufffd", text))


def short(text: str, room: float, size: float = 12.0) -> str:
    """`text` cut to `room` px at font size `size`, its end kept because names differ there."""
    text = " ".join(NOT_XML.sub("\ufffd", text).split())
    if extent(text, size) <= room + 0.5:
        return text
    most = max(4, int(room / (size * 0.6)))
    tail = text[-(most // 3) :]
    while cells(tail) > most // 3:
        tail = tail[1:]
    head = text[:most]
    while cells(head) + cells(tail) >= most:
        head = head[:-1]
    return f"{head}\u2026{tail}"


def num(value: float) -> str:
    """A number with one decimal at most."""
    text = f"{value:.1f}".removesuffix(".0")
    return "0" if text == "-0" else text


def path(*parts: str | float) -> str:
    """The data of a path from commands and numbers."""
    return " ".join(part if isinstance(part, str) else num(part) for part in parts)


def at(x: float, y: float, w: float, h: float) -> str:
    """The attributes of a rectangle."""
    return f'x="{num(x)}" y="{num(y)}" width="{num(w)}" height="{num(h)}"'

"""Regular expressions that guests describe: the host runs them on its loop, and nothing stops them.

So one is only taken when it cannot take long, however a text is made, by a rule that is stricter
than it would have to be.
"""

from __future__ import annotations

import re

LONGEST = 1 << 20  # characters of a text whose schema says no maxLength
MOST = 20_000_000  # steps, which is about a tenth of a second

_ESCAPED = re.compile(r"\\.", re.DOTALL)
_CLASS = re.compile(r"\[\^?\]?[^\]]*\]")
_NAMED = re.compile(r"\(\?(?::|P<\w+>)")
_GROUP = re.compile(r"\(([^()]*)\)([*+?{]?)")
_EXACTLY = re.compile(r"\{\d+\}")
_LAZY = re.compile(r"([*+?}])[?+]")
_BACK = re.compile(r"\\[1-9]")


def slow(pattern: str, longest: int | None) -> str | None:
    """Why a sound pattern is not taken for texts of so many characters; None when it is."""
    if _BACK.search(pattern.replace("\\\\", "")):
        return "it refers back to a group"
    plain = _CLASS.sub("x", _ESCAPED.sub("x", pattern))
    plain = _NAMED.sub("(", plain)
    if "(?" in plain:
        return "it looks ahead or back, or sets flags"
    is_anchored = pattern.startswith(("^", r"\A")) and "|" not in _outside(plain)
    plain = _LAZY.sub(r"\1", plain)
    ways = 1
    while (found := _GROUP.search(plain)) is not None:
        inner, repeated = found.groups()
        if repeated in {"*", "+", "{"} and re.search(r"[*+?{|]", inner):
            return "what it repeats repeats something itself, or has a choice in it"
        ways *= 1 + inner.count("|")
        plain = (
            f"{plain[: found.start()]}{inner.replace('|', '') or 'x'}{plain[found.end(1) + 1 :]}"
        )
    plain = _EXACTLY.sub("", plain)
    ways *= (1 + plain.count("|")) * 2 ** plain.count("?")
    repeats = sum(plain.count(sign) for sign in "*+{") + (not is_anchored)
    if ways * (longest or LONGEST) ** repeats > MOST:
        return (
            "it may take too long: begin it with ^, repeat less in it, or say a smaller maxLength"
        )
    return None


def _outside(plain: str) -> str:
    """What is in no group."""
    while _GROUP.search(plain) is not None:
        plain = _GROUP.sub("x", plain)
    return plain

"""The live figures of a node or an edge in a few characters, as pictures and tables show them."""

from __future__ import annotations

from aegis.core.wire import Figure

RUNNING = "\u25b6"
FAILING = "\u26a0"
OPEN = "\u2298"
HALF_OPEN = "\u25d0"
# The states in which something is wrong.
SIGNS = {"failing": FAILING, "open": OPEN, "half-open": HALF_OPEN}
UNDO = "\u21b6"


def compact(count: int) -> str:
    """A count in four characters: 999, 1.2k, 12k, 3.4M."""
    for size, letter in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if count >= size:
            # Cut, not rounded: 9,999 is not yet 10k.
            tenths = count * 10 // size
            return f"{tenths // 10}{letter}" if tenths >= 100 else f"{tenths / 10:g}{letter}"
    return str(count)


def latency(ms: float) -> str:
    """Milliseconds for people: 6 \u00b5s, 0.4 ms, 12 ms, 1.2 s."""
    if ms >= 9_999.5:
        return f"{ms / 1000:.0f} s"
    if ms >= 999.5:
        return f"{ms / 1000:.1f} s"
    if ms >= 9.95:
        return f"{ms:.0f} ms"
    return f"{ms:.1f} ms" if ms >= 0.095 or ms <= 0 else f"{ms * 1000:.0f} \u00b5s"


def told(figure: Figure, kind: str = "") -> str:
    """What stands at a node or an edge of `kind`: signs, calls, p50. Nothing while it is idle."""
    if not figure.calls and not figure.running:
        return ""
    signs = UNDO if kind == "undo" else ""
    signs += SIGNS.get(figure.state, "")
    parts = [signs] if signs else []
    parts += [f"{RUNNING}{compact(figure.running)}"] if figure.running else []
    parts += [compact(figure.calls)] if figure.calls else []
    parts += [f"\u00b7 {latency(figure.p50)}"] if figure.p50 is not None else []
    return " ".join(parts)


def explained(figure: Figure) -> str:
    """The same in words, for a tooltip and who cannot see it."""
    if not figure.calls and not figure.running:
        return ""
    parts = [f"{figure.calls} so far"]
    parts += [f"{figure.running} running"] if figure.running else []
    parts += [f"{figure.errors} failed"] if figure.errors else []
    if figure.p50 is not None and figure.p99 is not None:
        parts.append(f"p50 {latency(figure.p50)}, p99 {latency(figure.p99)}")
    parts += [guarded(figure)] if figure.state in {"open", "half-open"} else []
    if figure.error is not None:
        parts.append(f"{'failing' if figure.state == 'failing' else 'last error'}: {figure.error}")
    return "; ".join(parts)


def guarded(figure: Figure) -> str:
    """The breaker that keeps callers waiting: how it is, since when, and when it asks again."""
    parts = [f"breaker {figure.state}"]
    if figure.breaker is not None:
        parts.append(f"since {clock(figure.breaker.since)}")
        if figure.breaker.until is not None:
            parts.append(f"asks again at {clock(figure.breaker.until)}")
    return ", ".join(parts)


def clock(stamp: str) -> str:
    """The time of day of a stamp, which is UTC and says so: 14:05:10Z."""
    return f"{stamp[11:19]}Z"


def state(figure: Figure) -> str:
    """The classes of its element: ` failing`, ` running`, both or none."""
    words = ["failing"] if figure.state in SIGNS else []
    words += ["running"] if figure.running else []
    return "".join(f" {word}" for word in words)

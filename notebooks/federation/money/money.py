"""What prices are made of, for whoever needs it."""

from decimal import Decimal

RATE = Decimal("0.20")


def gross(net: Decimal) -> Decimal:
    """A price with its tax."""
    return (net * (1 + RATE)).quantize(Decimal("0.01"))

"""`migrate` and `unmigrate` of a model: found, or told at install by name."""

import pytest

from aegis.core.errors import ComponentError
from aegis.testing import load

MODEL = """
from typing import Any
from aegis import Model

class Order(Model):
    cents: int = 0
"""


def test_both_are_found_and_called_with_the_class():
    spec = load(
        MODEL
        + "    @classmethod\n    def migrate(cls, old: dict[str, Any]) -> 'Order':\n"
        + "        return cls(id=old['id'], cents=1)\n"
        + "    @classmethod\n    def unmigrate(cls, new: dict[str, Any], more: int = 2) -> dict:\n"
        + "        return {**new, 'more': more}\n"
    ).by_name["Order"]
    assert spec.migrate({"id": "a"}) == spec.cls(id="a", cents=1)
    assert spec.unmigrate({"id": "a"}) == {"id": "a", "more": 2}
    assert load(MODEL).by_name["Order"].migrate is None


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("    def migrate(self, old): ...\n", "Order.migrate is called with the class"),
        ("    @staticmethod\n    def migrate(old): ...\n", "mark it with @classmethod"),
        ("    @classmethod\n    async def migrate(cls, old): ...\n", "write it as a plain `def`"),
        ("    @classmethod\n    def migrate(cls): ...\n", "takes (), and is given one record"),
        ("    @classmethod\n    def migrate(cls, a, b): ...\n", "(cls, old: dict[str, Any])"),
        ("    @classmethod\n    def migrate(cls, *, old): ...\n", "Order.migrate takes (*, old)"),
        ("    @classmethod\n    def migrate(cls, old, *, b): ...\n", "Order.migrate takes"),
        ("    @classmethod\n    def unmigrate(cls, *a): ...\n", "(cls, new: dict[str, Any])"),
        ("    @classmethod\n    def migrate(cls, old): yield old\n", "write it as a plain `def`"),
    ],
)
def test_what_cannot_be_called_so_is_told_by_name(written, said):
    with pytest.raises(ComponentError) as refused:
        load(MODEL + written)
    assert said in str(refused.value)


def test_a_command_may_be_called_migrate():
    spec = load(
        MODEL + "    from aegis import command\n    @command\n"
        "    def migrate(self) -> 'Order':\n        return self\n"
    ).by_name["Order"]
    assert spec.migrate is None
    assert "migrate" in spec.commands

"""Grants as a cell says them: the words of `%aegis`, and cells that are strict."""

from IPython.core.error import UsageError

from aegis.core.errors import ComponentError, GrantError, InvalidError

ORDERS = """%%component orders 1.0.0
from aegis import Model
class Order(Model):
    name: str = ""
__exports__ = ["Order"]
"""
SHIPPING = """%%component shipping 1.0.0
from aegis import Model, command, relation
class Shipment(Model):
    order_id: str
    order = relation("orders.Order", via="order_id")
    @command
    async def look(self) -> "Shipment":
        await self.order()
        return self
__grants__ = {"orders": ["Order:read"]}
"""


def test_a_strict_cell_reaches_what_a_word_grants_until_a_word_takes_it(session, capsys):
    session.run(ORDERS)
    session.fails(SHIPPING, ComponentError)
    session.run("%aegis grant shipping orders.Order:read")
    session.run(SHIPPING)
    session.run("shipment = host.create(Shipment, order_id=host.create(Order).id)")
    session.run("host.call(shipment, 'look')")
    session.run("%aegis grant shipping")
    assert "shipping was granted orders.Order:read." in capsys.readouterr().out
    session.run("%aegis revoke shipping orders.Order:read")
    session.fails("host.call(shipment, 'look')", GrantError)
    session.fails("%aegis grant shipping Order", InvalidError)
    session.fails("%aegis revoke shipping", InvalidError)
    session.fails("%aegis grant", UsageError)

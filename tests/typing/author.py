"""What an author writes, as both type checkers must accept it under their strictest settings."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Protocol, assert_type

from aegis import (
    Clause,
    Event,
    Meta,
    Model,
    Refused,
    Secret,
    Serializer,
    Waiting,
    adapter,
    all_of,
    blocking,
    command,
    config,
    derived,
    emit,
    encrypted,
    event,
    frozen,
    frozen_when,
    idempotency_key,
    log,
    on,
    port,
    private,
    relation,
    required_when,
    service,
    unique,
    waiting,
)


class Payments(Protocol):  # what the port needs
    async def authorize(self, order_id: str, amount: Decimal) -> str: ...
    async def void(self, order_id: str) -> None: ...


class Gateway(Protocol):
    async def post(self, path: str, body: dict[str, str]) -> str: ...


class Draft(Model, endpoint="drafts", store="files"):
    text: str = ""


class User(Model, endpoint="users"):
    ssn: Annotated[str, private, unique]
    number: Annotated[str, frozen]
    email: Annotated[str, frozen_when(lambda user: user.number != ""), Meta(min_length=3)]
    card: Annotated[str | None, encrypted] = None
    phone: Annotated[str | None, required_when(lambda user: user.card is not None)] = None
    digits: Annotated[int, derived(lambda user: len(user.ssn))] = 0


class Money:
    def __init__(self, text: str) -> None:
        self.text = text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Money) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __str__(self) -> str:
        return self.text


Amount = Annotated[Money, Serializer(str, Money)]
When = Annotated[
    datetime,
    Serializer(datetime.timestamp, datetime.fromtimestamp, schema=float, network=datetime),
]


class Bill(Model, endpoint="bills", cache=1000):
    amount: Amount
    due: When | None = None


assert_type(Bill(amount=Money("1")).amount, Money)


class Order(Model, endpoint="orders"):
    customer_id: str
    total: Annotated[Decimal, Meta(ge=0)]
    status: str = "PENDING"
    authorization: str | None = None
    tags: list[str] = []  # noqa: RUF012 -- every Model gets its own

    @classmethod
    def migrate(cls, old: dict[str, Any]) -> "Order":  # of what an older version stored
        return cls(id=old["id"], customer_id=old["customer"], total=Decimal(old["cents"]) / 100)

    @classmethod
    def unmigrate(cls, new: dict[str, Any]) -> dict[str, Any]:  # for a rollback
        return {"customer": new["customer_id"], "cents": int(Decimal(new["total"]) * 100)}

    @port(consumes="order.created", produces="payment.authorized", timeout=5, retries=2)
    async def authorize(self, payments: Payments = adapter()) -> "Order":
        return self.update(authorization=await payments.authorize(self.id, self.total))

    @authorize.undo  # gets the step's key; works without the partner's id
    async def void(self, payments: Payments = adapter()) -> "Order":
        await payments.void(self.id)
        return self.update(authorization=None, status="CANCELED")

    @authorize.fallback
    async def trust(self, event: Event) -> "Order":
        return self.update(authorization=event.id)

    @port(consumes=authorize, produces="order.picked", when=lambda order: order.status == "OPEN")
    def pick(self, event: Event) -> "Order | None":
        log("picked", cause=event.id)
        return None

    @pick.undo(retries=5, backoff=0.1, backoff_most=20, retry_if=ConnectionError)
    def unpick(self) -> "Order":
        return self

    @pick.fallback(timeout=1)
    def pick_by_hand(self) -> "Order | None":
        return None

    @port(
        consumes=[pick, "inventory.*"],
        by="order_id",
        effect=False,
        backoff=1,
        factor=3,
        jitter=0.5,
        retry_if=lambda error: "busy" in str(error),
        breaker={"pause": 2},
    )
    def count(self) -> None:
        emit("order.counted", self.id, total=self.total)

    @port(consumes=(authorize, "invoice.sent"), join=True, by="id", was="dispatch")
    async def ship(self, gateway: Gateway = adapter()) -> "Order | Waiting":
        await gateway.post("/ship", {"order": self.id})
        return waiting(
            "carrier.shipped", by="order_id", deadline=3600, record=self.update(status="")
        )

    @ship.answer
    def shipped(self, event: Event) -> "Order | Waiting":
        if event.type == "carrier.late":
            return waiting("carrier.shipped", "carrier.late")
        return self.update(status="SHIPPED")

    @port(consumes="bank.charged_back", by="order_id", undo=True)
    def charged_back(self) -> None: ...

    @command(undo=True)
    def cancel(self, reason: str = "") -> "Order":
        if self.status == "COMPLETE":
            raise Refused("too late", emit=event("cancel.refused", reason=reason))
        return self.update(status="CANCELED")

    @command(timeout=5, breaker=False)
    async def decrypt(self) -> "Order":
        return self


class Wall(Model, endpoint="walls", concurrency="last-wins"):
    color: str = "white"


class CardPayments(Payments):  # an adapter, with the service behind it
    def __init__(self, gateway: Gateway = service(), key: Secret = config("payments.key")) -> None:
        self.gateway, self.key = gateway, key

    async def authorize(self, order_id: str, amount: Decimal) -> str:
        body = {"order": order_id, "amount": str(amount), "key": idempotency_key()}
        return await self.gateway.post("/authorize", body)

    async def void(self, order_id: str) -> None:
        await self.gateway.post("/void", {"order": order_id, "secret": self.key.reveal()})


class Sandbox(Payments):
    """The same, with a client that blocks."""

    @blocking
    def authorize(self, order_id: str, amount: Decimal) -> str:
        return f"{order_id}{amount}"

    async def void(self, order_id: str) -> None: ...


@on(every=60)
async def tidy() -> None: ...


@on(cron="0 3 * * *", tz="Europe/Berlin", retries=1, backoff=5)
async def report(payments: Payments = adapter()) -> None:
    await payments.void("")


@on("order.*", when=lambda event: event.subject != "", order="none", once=True, breaker=False)
def first(event: Event) -> None:
    log(event.type)


@on("order.*", "payment.authorized")
async def heard(event: Event, payments: Payments = adapter()) -> None:
    await payments.void(event.subject or "")


async def a_unit_test_of_it() -> None:
    order = Order(customer_id="c", total=Decimal(1))
    assert_type(order.id, str)
    assert_type(order.total, Decimal)
    assert_type(order.update(total=Decimal(2)), Order)
    assert_type(await order.authorize(Sandbox()), Order)
    assert_type(await order.void(Sandbox()), Order)
    assert_type(order.cancel("late"), Order)
    event = Event(id="1", source="/carrier", type="carrier.shipped", time="")
    assert_type(order.shipped(event), Order | Waiting)
    assert_type(await order.decrypt(), Order)
    assert_type(await Sandbox().authorize("1", Decimal(1)), str)
    assert_type(Wall().color, str)
    order.count()


class Person(Protocol):  # what is needed of another component's model
    name: str


class Purchase(Model):
    customer_id: str
    tag_ids: tuple[str, ...] = ()

    customer = relation("customers.Customer", Person, via="customer_id")
    lines = relation(Order, by="customer_id")
    last = relation(Order, by="customer_id", many=False)
    tags = relation("Tag", via="tag_ids", many=True, on_delete="clear")

    @relation(Order)
    def dear(self) -> Clause:
        return all_of(total__ge=100)

    @command
    async def follow(self) -> "Purchase":
        assert_type((await self.customer()).name, str)
        assert_type(await self.lines(status="PENDING", sort="-total"), list[Order])
        assert_type(await self.last(), Order | None)
        assert_type(await self.lines.create(total=Decimal(1)), Order)
        assert_type(await self.dear(), list[Order])
        assert_type(await self.dear.count(), int)
        return self


user = User(ssn="1", number="2", email="a@x")
assert_type(user.ssn, str)
assert_type(user.digits, int)
assert_type(user.update(card="c").card, str | None)

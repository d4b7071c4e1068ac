"""A model without ports: a write is one record, one event and nothing after it."""

from aegis import Model


class Note(Model, endpoint="notes"):
    customer: str
    total: str
    edition: int = 0

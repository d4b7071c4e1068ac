"""The datasource of a MongoDB database: a collection for each model, a document for each record.

A document has the author's fields and `_meta` (revision, times, key of the write). What a query
means is said in core.matching; MongoDB gets a filter that leaves out none of that, and what it
finds is looked at again.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec
from bson import Decimal128
from bson.errors import BSONError
from pymongo import ASCENDING, DESCENDING, AsyncMongoClient, WriteConcern
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.errors import (
    ConfigurationError,
    DuplicateKeyError,
    InvalidName,
    OperationFailure,
    PyMongoError,
    WriteError,
)
from pymongo.uri_parser import parse_uri

from aegis.core.errors import (
    AegisError,
    BadRequestError,
    ConfigError,
    CorruptError,
    DatasourceError,
    InvalidError,
)
from aegis.core.matching import Gathering, data_of, holds, scalar
from aegis.core.query import Condition, Every, Index, Page, Query, Some, Term
from aegis.core.record import Record
from aegis.protocols import Datasource, Held, Write, Written

TIMEOUTS = {"serverSelectionTimeoutMS": 2_500, "connectTimeoutMS": 2_500, "socketTimeoutMS": 8_000}
AT_ONCE = 16  # writes on their way to the server

Filter = dict[str, Any]
Documents = AsyncCollection[dict[str, Any]]
T = TypeVar("T")

_ALL: Filter = {}  # no condition
_SIGNS = {"lt": "$lt", "le": "$lte", "gt": "$gt", "ge": "$gte"}
_COLUMNS = {"id": "_id", "_created": "_meta.created", "_updated": "_meta.updated"}
_LAST = "\U0010ffff"
_encode = msgspec.json.Encoder().encode


class MongoDatasource(Datasource):
    """Keeps records in a database of a MongoDB server or replica set (see protocols.Datasource).

    A write is told done when a majority has it in its journal. Who is another writer counts
    `_meta.revision` up with each change.
    """

    def __init__(self, url: str, database: str, *, name: str = "mongo") -> None:
        self._name = name
        self._database = database
        self._url = url
        try:
            parsed = parse_uri(url)
        except (PyMongoError, ValueError) as error:
            # Not its words: they may hold the password.
            raise ConfigError(
                f"the url of datasource {name!r} is none of MongoDB: {type(error).__name__}",
                hint="as in mongodb://127.0.0.1:27017",
            ) from None
        self._where = ", ".join(f"{host}:{port}" for host, port in parsed["nodelist"])
        said = {option.lower() for option in parsed["options"]}
        self._options: dict[str, Any] = {
            key: most for key, most in TIMEOUTS.items() if key.lower() not in said
        }
        self._client: AsyncMongoClient[dict[str, Any]] | None = None

    async def open(self) -> None:
        """Make a client; it connects when it is first needed. Raises ConfigError."""
        try:
            self._client = AsyncMongoClient(self._url, tz_aware=True, **self._options)
            _ = self._collection("a.B")
        except (ConfigurationError, InvalidName) as error:
            raise ConfigError(f"datasource {self._name!r}: {error}") from error

    async def close(self) -> None:
        """Close all connections."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def get(self, model: str, id: str) -> Record | None:
        """The record as last written."""
        if not _is_text(id):
            return None
        found = await self._ask(self._collection(model).find_one({"_id": id}))
        return None if found is None else self._read(model, found)[0]

    async def list(self, model: str, query: Query) -> Page:
        """The page that `query` means."""
        gathering = Gathering(query)
        where = self._filter(query.where)
        in_order = not query.sort
        if in_order and query.after is not None and _is_text(str(query.after[-1])):
            where = {"$and": [where, {"_id": {"$gt": query.after[-1]}}]}
        async for record in self._found(model, where, in_order=in_order):
            gathering.take(record)
            if in_order and gathering.is_full:
                break
        return gathering.page()

    async def count(self, model: str, where: tuple[Condition, ...] = ()) -> int:
        """How many records there are for which all of `where` holds."""
        if not where:
            return await self._ask(self._collection(model).count_documents({}))
        count = 0
        async for record in self._found(model, self._filter(where)):
            data = data_of(record)
            count += all(holds(condition, data) for condition in where)
        return count

    async def scan(self, model: str) -> AsyncIterator[Record]:
        """All records of a model."""
        async for record in self._found(model, {}):
            yield record

    async def index(self, component: str, indexes: Mapping[str, Sequence[Index]]) -> None:
        """Have these indexes, and no others of those that this made."""
        for model, several in indexes.items():
            wanted = {_index_name(one): one for one in several}
            documents = self._collection(model)
            if not wanted and not await self._ask(self._has(documents)):
                continue
            known = await self._ask(documents.index_information())
            for name in known:
                if name.startswith("aegis ") and name not in wanted:
                    await self._ask(documents.drop_index(name))
            for name, terms in wanted.items():
                if name not in known:
                    keys = [
                        (_path(term), DESCENDING if term.descending else ASCENDING)
                        for term in terms
                    ]
                    await self._ask(documents.create_index(keys, name=name))

    async def write(self, writes: Sequence[Write]) -> Sequence[Written]:
        """Do each of `writes`."""
        slots = asyncio.Semaphore(AT_ONCE)

        async def one(write: Write) -> Written:
            async with slots:
                return await self._write(write)

        # All have ended when this does, so that none comes after what the host does next.
        done = await asyncio.gather(*map(one, writes), return_exceptions=True)
        outcomes: list[Written] = []
        for outcome in done:
            if isinstance(outcome, BaseException) and not isinstance(outcome, InvalidError):
                raise outcome
            outcomes.append(outcome)
        return outcomes

    async def clear(self, component: str) -> int:
        """Drop the records of a component."""
        database = self._connected()[self._database]
        names = await self._ask(database.list_collection_names())
        dropped = 0
        for name in names:
            if name.startswith(f"{component}."):
                result = await self._ask(self._collection(name).delete_many({}))
                dropped += result.deleted_count
        return dropped

    # Asking

    def _connected(self) -> AsyncMongoClient[dict[str, Any]]:
        if self._client is None:
            raise DatasourceError(f"datasource {self._name!r} is not open")
        return self._client

    def _collection(self, model: str) -> Documents:
        concern = WriteConcern("majority", j=True, wtimeout=TIMEOUTS["socketTimeoutMS"])
        database = self._connected()[self._database]
        return database.get_collection(model, write_concern=concern)

    async def _has(self, documents: Documents) -> bool:
        return bool(await documents.database.list_collection_names(filter={"name": documents.name}))

    async def _ask(self, question: Awaitable[T]) -> T:
        try:
            return await question
        except DuplicateKeyError:
            raise
        except PyMongoError as error:
            raise self._translated(error) from error

    def _translated(self, error: PyMongoError) -> AegisError:
        if isinstance(error, WriteError):
            return InvalidError(f"datasource {self._name!r} refuses it: {error.details}")
        if isinstance(error, OperationFailure):
            return DatasourceError(
                f"datasource {self._name!r} at {self._where} refuses: error {error.code}",
                hint="look at the rights of its user" if error.code in (13, 18) else None,
            )
        return DatasourceError(
            f"datasource {self._name!r} at {self._where} does not answer: {type(error).__name__}"
        )

    async def _found(
        self, model: str, where: Filter, *, in_order: bool = False
    ) -> AsyncIterator[Record]:
        cursor = self._collection(model).find(where)
        if in_order:
            cursor = cursor.sort("_id", ASCENDING)
        try:
            async for document in cursor:
                yield self._read(model, document)[0]
        except PyMongoError as error:
            raise self._translated(error) from error
        finally:
            await cursor.close()

    def _read(self, model: str, document: dict[str, Any]) -> tuple[Record, str]:
        """A record of its document, and the key of its last write. Raises CorruptError."""
        fields = dict(document)
        id, meta = fields.pop("_id"), fields.pop("_meta", None)
        try:
            record = Record(
                model=model,
                id=id,
                revision=int(meta["revision"]),
                created=str(meta["created"]),
                updated=str(meta["updated"]),
                doc=_encode({"id": id, **_plain(fields)}),
            )
            return record, str(meta.get("write", ""))
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            raise CorruptError(
                f"the document {id!r} of {self._database}.{model} in datasource {self._name!r} "
                f"is no record: {error!r}",
                hint="mend it, or delete it",
            ) from error

    async def _write(self, write: Write) -> Written:
        documents = self._collection(write.model)
        here: Filter = {"_id": write.id, "_meta.revision": write.expected}
        try:
            if write.record is None:
                if write.expected:
                    result = await self._ask(documents.delete_one(here))
                    if result.deleted_count:
                        return None
            elif write.expected:
                document = _document(write.record, write.key)
                replaced = await self._ask(documents.replace_one(here, document))
                if replaced.matched_count:
                    return None
            else:
                await self._ask(documents.insert_one(_document(write.record, write.key)))
                return None
        except DuplicateKeyError:
            pass
        except (BSONError, OverflowError, UnicodeEncodeError) as error:
            raise InvalidError(f"MongoDB cannot hold it: {error}") from error
        found = await self._ask(documents.find_one({"_id": write.id}))
        if found is None:
            return None if write.record is None else Held(None)
        record, key = self._read(write.model, found)
        return None if key == write.key else Held(record, key)

    # What a query means

    def _filter(self, where: Sequence[Condition]) -> Filter:
        """A filter that lets through all that is meant, and perhaps more."""
        try:
            return _every([_condition(condition) for condition in where])
        except UnicodeEncodeError as error:
            raise BadRequestError(f"no record can have that value: {error}") from error


def _every(filters: Sequence[Filter]) -> Filter:
    said = [one for one in filters if one]
    return {"$and": said} if said else _ALL


def _condition(condition: Condition) -> Filter:
    """What a document must be for `condition` to hold; no condition where that is not sure.

    Values stand where MongoDB takes values, so none can be an operator.
    """
    match condition:
        case Every(parts):
            return _every([_condition(part) for part in parts])
        case Some(parts):
            filters = [_condition(part) for part in parts]
            return {"$or": filters} if filters and all(filters) else _ALL
        case Term():
            return _term(condition)
        case _:
            return _ALL


def _term(term: Term) -> Filter:
    path = _path(term)
    if term.op == "exists" and "." not in term.path:
        return {path: {"$ne": None}} if term.value else {path: {"$eq": None}}
    if term.kind != "text":  # these are read from text first
        return _ALL
    if term.op == "eq":
        return _equal(path, term.value)
    if term.op == "in":
        filters = [_equal(path, value) for value in term.value]
        return {"$or": filters} if filters and all(filters) else _ALL
    if term.op == "prefix" and _is_sure(term.value) and term.value.rstrip(_LAST):
        kept = term.value.rstrip(_LAST)
        following = ord(kept[-1]) + 1
        end = kept[:-1] + chr(0xE000 if following == 0xD800 else following)
        return {path: {"$gte": term.value, "$lt": end}}
    if term.op == "contains" and _is_sure(term.value) and not term.value.startswith(('"', ",")):
        return {path: {"$regex": re.escape(term.value)}}
    value = scalar(term.value, term.kind) if term.op in _SIGNS else None
    if isinstance(value, str) and _is_sure(value):
        # What follows a NUL makes no difference, and numbers are below all text.
        sign, value = ("$lt", f"{value}\x01") if term.op == "le" else (_SIGNS[term.op], value)
        return {"$or": [{path: {sign: value}}, {path: {"$not": {"$type": "string"}}}]}
    return _ALL


def _equal(path: str, value: Any) -> Filter:
    value = scalar(value, "text")
    if value is None:
        return {path: {"$eq": None}} if "." not in path else _ALL
    if isinstance(value, str):
        # Text compares as far as a NUL: what follows one makes no difference.
        return {path: {"$gte": value, "$lt": f"{value}\x01"}} if _is_sure(value) else _ALL
    if value in (0, 1):
        return {path: {"$in": [value, bool(value)]}}
    return _ALL if isinstance(value, int) and abs(value) >= 2**53 else {path: {"$eq": value}}


def _is_sure(text: str) -> bool:
    """Whether MongoDB compares with `text` as we do. What is no text counts as its JSON here."""
    return "\0" not in text and text[:1] not in ("[", "{")


def _path(term: Term) -> str:
    return _COLUMNS.get(term.path) or ".".join(map(_key, term.path.split(".")))


def _index_name(terms: Index) -> str:
    spelled = ",".join(f"{'-' if term.descending else ''}{term.path}" for term in terms)
    return f"aegis {spelled}"


def _is_text(text: str) -> bool:
    """Whether `text` has no half of a surrogate pair: nothing stored has one."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


# What MongoDB can hold


def _document(record: Record, key: str) -> dict[str, Any]:
    fields = msgspec.json.decode(record.doc, type=dict[str, Any])
    fields.pop("id", None)
    return {
        "_id": record.id,
        **_held(fields),
        "_meta": {
            "revision": record.revision,
            "created": record.created,
            "updated": record.updated,
            "write": key,
        },
    }


def _held(value: Any) -> Any:
    """A JSON value as BSON holds it: keys without `.` and `$`, large whole numbers as decimals."""
    if isinstance(value, dict):
        return {_key(name): _held(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_held(one) for one in value]
    if type(value) is int and not -(2**63) <= value < 2**63:
        text = str(value)
        if len(text.lstrip("-").rstrip("0")) > 34:
            raise OverflowError(f"{text[:20]}... has more than 34 digits")
        return Decimal128(text)
    return value


def _plain(value: Any) -> Any:
    """The reverse of `_held`."""
    if isinstance(value, dict):
        return {_name(name): _plain(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if isinstance(value, Decimal128):
        return int(value.to_decimal())
    if isinstance(value, int) and not isinstance(value, bool):
        return int(value)
    return value


def _key(name: str) -> str:
    name = name.replace("%", "%25").replace(".", "%2E").replace("\0", "%00")
    return f"%24{name[1:]}" if name.startswith("$") else name


def _name(key: str) -> str:
    return key.replace("%24", "$").replace("%00", "\0").replace("%2E", ".").replace("%25", "%")

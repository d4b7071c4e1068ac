"""The analyst: answers one SELECT over all that is stored, as of one moment, with DuckDB."""

from __future__ import annotations

import asyncio
import importlib
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import duckdb

from aegis.adapters.analyst.columns import OWN, names_of, plain
from aegis.adapters.analyst.mirror import Mirror, Names
from aegis.core.component import ModelSpec
from aegis.core.errors import AegisError, ClosedError, SqlError, StoreError, closest
from aegis.core.registry import Registry
from aegis.protocols import Sight, Sighted

T = TypeVar("T")

THREADS = 2  # questions at a time
RESULT = "result"
AGAIN = 0.05  # seconds until a question that was stopped is told so again

_LINE = re.compile(r"^LINE (\d+): (.*)\n( *)\^", re.MULTILINE)
_MISSING = re.compile(r'Table with name "?([^\s"]+)"? does not exist')


class Answer:
    """What came out of a question: a table of its own, as of event `seq` of the journal.

    `relation` is it as a relation of DuckDB, for more SQL; `rows()` are tuples of Python values,
    with times in UTC; `len()` says how many there are.
    """

    def __init__(self, db: duckdb.DuckDBPyConnection, seq: int) -> None:
        self.seq = seq
        self.relation = db.table(RESULT)
        self._db = db  # the table is this connection's
        ((self._count,),) = db.execute(f"SELECT count(*) FROM {RESULT}").fetchall()  # noqa: S608 -- a name of ours

    @property
    def columns(self) -> list[str]:
        """The names of the columns."""
        return list(self.relation.columns)

    @property
    def types(self) -> list[str]:
        """The types of the columns, in SQL."""
        return [str(type) for type in self.relation.types]

    def __len__(self) -> int:
        return int(self._count)

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return iter(self.rows())

    def rows(self, limit: int | None = None) -> list[tuple[Any, ...]]:
        """The rows, or the first `limit` of them."""
        found = self.relation if limit is None else self.relation.limit(limit)
        return found.fetchall()

    def df(self) -> Any:
        """A pandas DataFrame. Raises AegisError without pandas."""
        _needs("pandas", "a DataFrame")
        return self.relation.df()

    def arrow(self) -> Any:
        """A table of Arrow. Raises AegisError without pyarrow."""
        _needs("pyarrow", "a table of Arrow")
        return self.relation.to_arrow_table()

    def pl(self) -> Any:
        """A polars DataFrame. Raises AegisError without polars and pyarrow."""
        _needs("polars", "a polars DataFrame")
        _needs("pyarrow", "a polars DataFrame")
        return self.relation.pl()


def parameters(text: str) -> set[str]:
    """The names of the parameters in `text`. Raises SqlError."""
    try:
        return {name for one in duckdb.extract_statements(text) for name in one.named_parameters}
    except duckdb.Error as error:
        raise _told(error, (), below=0) from None


class DuckAnalyst:
    """Answers questions in SQL over a store (see protocols.Analyst).

    The first question builds the mirror; each later one reads what has changed since.
    """

    def __init__(self, store: Sighted) -> None:
        self._store = store
        self._mirror: Mirror | None = None
        self._gate = asyncio.Lock()
        self._closed = False
        self._asked: set[duckdb.DuckDBPyConnection] = set()
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="aegis-sql")

    async def ask(
        self,
        registry: Registry,
        text: str,
        params: Mapping[str, Any],
        *,
        max_rows: int,
        timeout: float,
        at: int | None = None,
    ) -> Answer:
        """The answer to one SELECT. Raises SqlError.

        `timeout` seconds are for the question itself, not for what it is about to be read. With
        `at` the journal is read anew, up to that event, and there are no flows and steps.
        """
        question = wrapped(text, max_rows)
        names = names_of(registry)
        async with self._gate:
            if self._closed:
                raise ClosedError("the host is closed")
            cursor = await self._current(dict(registry.models), names, at)
        self._asked.add(cursor)
        try:
            async with asyncio.timeout(timeout):
                answer = await self._finished(
                    asyncio.get_running_loop().run_in_executor(
                        self._pool, _answer, cursor, question, dict(params)
                    ),
                    cursor.interrupt,
                )
        except TimeoutError:
            raise SqlError(
                f"it took longer than {timeout:g} seconds", hint="ask for less, or say timeout="
            ) from None
        except duckdb.Error as error:
            known = [plain(name) for ours in names.values() for name in ours]
            raise _told(error, [*known, *OWN]) from None
        finally:
            self._asked.discard(cursor)
        if len(answer) > max_rows:
            raise SqlError(
                f"it has more than {max_rows:,} rows", hint="add a LIMIT, or say max_rows="
            )
        return answer

    async def close(self) -> None:
        """End what is asked, let go of everything."""
        async with self._gate:
            self._closed = True
            while self._asked:
                for cursor in self._asked:
                    cursor.interrupt()
                await asyncio.sleep(AGAIN)
            if self._mirror is not None:
                self._mirror.close()
                self._mirror = None
        self._pool.shutdown(wait=False)

    async def _current(
        self, specs: Mapping[str, ModelSpec], names: Names, at: int | None
    ) -> duckdb.DuckDBPyConnection:
        """A cursor in a transaction that sees the mirror as of now, or one made for `at`."""
        if at is None:
            mirror = self._mirror = self._mirror or Mirror()
        else:
            mirror = Mirror()

        def refresh(sight: Sight) -> None:
            if at is None:
                mirror.refresh(sight, specs, names)
            else:
                mirror.become(sight, at, specs, names)

        try:
            await self._finished(self._store.look(refresh), mirror.halt)
            cursor = mirror.db.cursor()
            cursor.execute("BEGIN").execute("FROM aegis.point")  # it begins with what is read first
        except BaseException as error:
            if at is None:
                self._mirror = None
            if isinstance(error, duckdb.Error):
                raise StoreError(f"what is stored cannot be made into tables: {error}") from error
            raise
        return cursor

    async def _finished(self, work: Awaitable[T], stop: Callable[[], None]) -> T:
        """What `work` gives; who is cancelled meanwhile stops it and waits for its end."""
        task = asyncio.ensure_future(work)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            while not task.done():  # again: what has not begun yet would not hear of it
                stop()
                await asyncio.wait([task], timeout=AGAIN)
            if not task.cancelled():
                task.exception()  # nobody else asks for it
            raise


def wrapped(text: str, max_rows: int) -> str:
    """The statement that answers `text`, which must be one SELECT. Raises SqlError."""
    try:
        statements = duckdb.extract_statements(text)
    except duckdb.Error as error:
        raise _told(error, (), below=0) from None
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        kinds = " and ".join(statement.type.name for statement in statements) or "nothing"
        raise SqlError(f"only one SELECT can be asked, and this is {kinds}")
    # What may stand behind the statement, a semicolon and a comment, cannot stand in brackets.
    while True:
        question = f"CREATE TEMP TABLE {RESULT} AS FROM (\n{text}\n) LIMIT {max_rows + 1}"
        try:
            (_,) = duckdb.extract_statements(question)
        except (duckdb.Error, ValueError) as error:
            text, semicolon, _ = text.rpartition(";")
            if not semicolon:
                raise SqlError(f"it cannot be asked as it stands: {error}") from None
        else:
            return question


def _answer(db: duckdb.DuckDBPyConnection, question: str, params: dict[str, Any]) -> Answer:
    """In a thread: ask, within the transaction that `db` has begun."""
    ((seq,),) = db.execute("FROM aegis.point").fetchall()
    db.execute(question, params or None)
    db.execute("COMMIT")
    return Answer(db, seq)


def _told(error: duckdb.Error, known: list[str] | tuple[()], *, below: int = 1) -> SqlError:
    """DuckDB's error as ours; `below` lines of the statement were not the caller's."""
    text = str(error)
    fields: dict[str, Any] = {}
    place = _LINE.search(text)
    if place is not None:
        line = int(place[1]) - below
        fields = {"line": line, "column": len(place[3]) - len(f"LINE {place[1]}: ") + 1}
        text = text.replace(f"LINE {place[1]}: ", f"LINE {line}: ", 1)
    missing = _MISSING.search(text)
    if missing is None:
        return SqlError(text, **fields)
    # DuckDB would offer tables of its own.
    text = re.sub(r"\nDid you mean .*\n", "\n", text)
    return SqlError(text, hint=closest(missing[1], known) or "SHOW TABLES lists them", **fields)


def _needs(package: str, what: str) -> None:
    try:
        importlib.import_module(package)
    except ImportError as error:
        raise AegisError(
            f"{what} needs {package}", hint=f"install it: %pip install {package}"
        ) from error

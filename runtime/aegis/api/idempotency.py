"""One effect for one Idempotency-Key: a request sent twice is done once and answered alike."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable

import msgspec

from aegis.api.request import Request
from aegis.api.response import REPLAYED, Response
from aegis.core.errors import BadRequestError, ClosedError, ConflictError, InvalidError
from aegis.core.sealing import Sealing
from aegis.engine.engine import Engine
from aegis.engine.ledger import Answering, Outcome
from aegis.protocols import Answer, Clock, Commit, Store

MAX_KEY = 255


class _Underway(msgspec.Struct):
    """A request that is being done now, for those who send it again meanwhile."""

    fingerprint: str
    answer: asyncio.Future[Response]


class Once:
    """Does what carries an Idempotency-Key once: the answer is stored with what it answers."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._underway: dict[str, _Underway] = {}

    async def do(
        self,
        request: Request,
        engine: Engine,
        run: Callable[[Answering | None], Awaitable[Outcome]],
        respond: Callable[[Outcome], Response],
        sealing: Sealing | None = None,
    ) -> Response:
        """The answer of `run`, or the one it had before under the same key.

        With `sealing` what is stored of request and answer is sealed: a record may be in them.
        Raises ConflictError when another request holds the key now, InvalidError when one had it
        before, and whatever `run` raises, to all who wait for it. A failure is not stored: the
        same key may try again.
        """
        key = _key(request)
        if key is None:
            return respond(await run(None))
        fingerprint = _fingerprint(request)
        if sealing is not None:
            fingerprint = sealing.mark(fingerprint.encode())
        return await self._alone(
            key,
            fingerprint,
            lambda: self._first(key, fingerprint, engine, run, respond, sealing),
        )

    async def repeat(
        self, request: Request, store: Store, run: Callable[[], Awaitable[Response]]
    ) -> Response:
        """As `do`, of what is no change of a record: the answer is stored right after it.

        A crash in between has it done again, so `run` must bear that.
        """
        key = _key(request)
        if key is None:
            return await run()
        fingerprint = _fingerprint(request)

        async def first() -> Response:
            stored = await store.answer(key)
            if stored is not None:
                _check(stored, fingerprint)
                return _replayed(Response(stored.status, stored.headers, stored.body))
            response = await run()
            answer = Answer(
                key=key,
                fingerprint=fingerprint,
                status=response.status,
                headers=response.headers,
                body=response.body,
                created=self._clock.stamp(),
            )
            await store.commit(Commit(answers=[answer]))
            return response

        return await self._alone(key, fingerprint, first)

    async def _alone(
        self, key: str, fingerprint: str, first: Callable[[], Awaitable[Response]]
    ) -> Response:
        """The answer of `first`, or of who does the same already."""
        underway = self._underway.get(key)
        if underway is not None:
            if underway.fingerprint != fingerprint:
                raise ConflictError(
                    "another request with this Idempotency-Key is under way",
                    hint="a key stands for one request; take a new one",
                )
            return _replayed(await asyncio.shield(underway.answer))
        answer: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        self._underway[key] = _Underway(fingerprint, answer)
        try:
            response = await first()
        except Exception as error:
            answer.set_exception(error)
            raise
        else:
            answer.set_result(response)
            return response
        finally:
            del self._underway[key]
            if not answer.done():
                answer.set_exception(ClosedError("the host stopped while it worked on this"))
            answer.exception()  # nobody may be waiting

    async def _first(
        self,
        key: str,
        fingerprint: str,
        engine: Engine,
        run: Callable[[Answering | None], Awaitable[Outcome]],
        respond: Callable[[Outcome], Response],
        sealing: Sealing | None,
    ) -> Response:
        what = f"answer {key}"
        stored = await engine.answer(key)
        if stored is not None:
            _check(stored, fingerprint)
            body = stored.body if sealing is None else sealing.given(what, stored.body)
            return _replayed(Response(stored.status, stored.headers, body))

        def build(outcome: Outcome) -> Answer:
            response = respond(outcome)
            return Answer(
                key=key,
                fingerprint=fingerprint,
                status=response.status,
                headers=response.headers,
                body=response.body if sealing is None else sealing.kept(what, response.body),
                created=self._clock.stamp(),
            )

        return respond(await run(Answering(key=key, fingerprint=fingerprint, build=build)))


def _key(request: Request) -> str | None:
    """The key that a request carries. Raises BadRequestError for what is none."""
    key = request.headers.get("idempotency-key")
    if key is not None and (
        not 0 < len(key) <= MAX_KEY or not (key.isascii() and key.isprintable())
    ):
        raise BadRequestError(
            f"Idempotency-Key must be 1 to {MAX_KEY} printable ASCII characters",
            header="Idempotency-Key",
        )
    return key


def _check(stored: Answer, fingerprint: str) -> None:
    """Raise InvalidError when a key stands for another request."""
    if stored.fingerprint != fingerprint:
        raise InvalidError(
            "this Idempotency-Key was used for another request",
            hint="a key stands for one method, path and body; take a new one",
        )


def _replayed(response: Response) -> Response:
    return response if REPLAYED in response.headers else response.adding(REPLAYED)


def _fingerprint(request: Request) -> str:
    """What makes two requests the same: method, path and body, as they were sent."""
    digest = hashlib.sha256(f"{request.method} {request.path}\n".encode())
    digest.update(request.body)
    return digest.hexdigest()

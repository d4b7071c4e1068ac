"""A client that keeps its connections open and times each request: `python -m tests.bench.load CORE`.

The first line of standard input says what to send (see `program.Load`), the second ends it; then
comes a line of JSON with what every kind of request took. A request counts as failed when its
answer is no 2xx or its connection breaks.
"""

import asyncio
import json
import os
import sys
import time
from urllib.parse import urlsplit

# The first answers of a connection, which open caches, are left out of the times.
WARM_UP = 5


class Kind:
    """All requests of one name."""

    def __init__(self) -> None:
        self.times = []
        self.failed = 0
        self.failure = ""

    def fail(self, failure):
        self.failed += 1
        self.failure = self.failure or failure

    def timed(self):
        times = sorted(self.times) or [0.0]
        return {
            "count": len(self.times),
            "failed": self.failed,
            "failure": self.failure,
            "p50": times[len(times) // 2] * 1e3,
            "p99": times[len(times) * 99 // 100] * 1e3,
            "longest": times[-1] * 1e3,
        }


class Client(asyncio.Protocol):
    """One connection: sends, reads the answer, sends the next."""

    def __init__(self, requests, ended):
        self.requests, self.ended = requests, ended
        self.turn, self.buffer, self.began, self.ending = 0, b"", 0.0, False

    def connection_made(self, transport):
        self.transport = transport
        self.send()

    def send(self):
        self.kind, request = self.requests[self.turn % len(self.requests)]
        self.began = time.perf_counter()
        self.transport.write(request)

    def data_received(self, data):
        self.buffer += data
        head, found, rest = self.buffer.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        if len(rest) < length:
            return
        self.buffer = b""
        self.turn += 1
        if not head.startswith(b"HTTP/1.1 2"):
            self.kind.fail(f"{head.splitlines()[0].decode()}: {rest[:300].decode()}")
        elif self.turn > WARM_UP:
            self.kind.times.append(time.perf_counter() - self.began)
        if self.ending:
            self.transport.close()
        else:
            self.send()

    def connection_lost(self, error):
        if not self.ending:
            self.kind.fail(f"the connection broke: {error}")
        self.ended.set()


async def main():
    order = json.loads(sys.stdin.readline())
    place = urlsplit(order["address"])
    headers = "".join(f"{name}: {value}\r\n" for name, value in order["headers"].items())
    kinds = {name: Kind() for name, *_ in order["requests"]}
    requests = [
        (
            kinds[name],
            f"{method} {path} HTTP/1.1\r\nHost: {place.netloc}\r\n{headers}"
            f"Content-Length: {len(body)}\r\n\r\n{body}".encode(),
        )
        for name, method, path, body in order["requests"]
    ]
    loop = asyncio.get_running_loop()
    clients = []
    for number in range(order["connections"]):
        turned = requests[number % len(requests) :] + requests[: number % len(requests)]
        client = Client(turned, asyncio.Event())
        clients.append(client)
        await loop.create_connection(lambda client=client: client, place.hostname, place.port)
    print(json.dumps("begun"), flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    for client in clients:
        client.ending = True
    for client in clients:
        try:
            await asyncio.wait_for(client.ended.wait(), 30)
        except TimeoutError:
            client.kind.fail("no answer within 30 s")
    print(json.dumps({name: kind.timed() for name, kind in kinds.items()}), flush=True)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        os.sched_setaffinity(0, {int(sys.argv[1])})
    asyncio.run(main())

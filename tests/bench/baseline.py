"""What ours is compared to: a bare Tornado handler, `python -m tests.bench.baseline CORE`.

The first line of standard input is JSON: the body that `GET` and `POST` answer. It answers them
with no ETag, stores nothing, and ends with standard input.
"""

import asyncio
import json
import os
import sys

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler


async def main() -> None:
    bodies = {method: body.encode() for method, body in json.loads(sys.stdin.readline()).items()}

    class Bare(RequestHandler):
        def compute_etag(self) -> None:
            return None

        def get(self) -> None:
            self.set_header("Content-Type", "application/json")
            self.finish(bodies["GET"])

        def post(self) -> None:
            self.set_status(201)
            self.set_header("Content-Type", "application/json")
            self.finish(bodies["POST"])

    server = HTTPServer(Application([(r"/.*", Bare)], log_function=lambda _handler: None))
    sockets = bind_sockets(0, "127.0.0.1")
    server.add_sockets(sockets)
    port = sockets[0].getsockname()[1]
    print(json.dumps({"address": f"http://127.0.0.1:{port}"}), flush=True)
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    os.sched_setaffinity(0, {int(sys.argv[1])})
    asyncio.run(main())

"""A host and its HTTP server in a process of their own: `python -m tests.bench.served CORE DATA`.

Each line of standard input is JSON: a component's name, version and text, in Python or (`wat`) as
WebAssembly. It is deployed, and a line with the milliseconds that took is the answer. The end of
standard input is its own.
"""

import asyncio
import json
import os
import sys
import time
from pathlib import Path

import wasmtime

from aegis.bootstrap import build_host, dedicate, start_server
from aegis.configuration import Config
from aegis.core.component import Source

TOKEN = "bench"


async def main(data: Path) -> None:
    config = Config(data=data, token=TOKEN)
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader(limit=1 << 20)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    async with build_host(config) as host:
        server = await start_server(host, config)
        dedicate()  # as aegis-serve does
        print(json.dumps({"address": server.address}), flush=True)
        while line := await lines.readline():
            component = json.loads(line)
            given = [component["name"], component["version"]]
            if "wat" in component:
                binary = bytes(wasmtime.wat2wasm(component["wat"]))
                given = [Source.of(*given, "", origin="bench", binary=binary)]
            else:
                given.append(component["text"])
            began = time.perf_counter()
            await host.deploy(*given)
            took = (time.perf_counter() - began) * 1e3
            print(json.dumps({"ms": took}), flush=True)
        await server.close()


if __name__ == "__main__":
    os.sched_setaffinity(0, {int(sys.argv[1])})
    asyncio.run(main(Path(sys.argv[2])))

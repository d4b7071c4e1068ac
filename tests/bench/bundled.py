"""A host that fetches: `python -m tests.bench.bundled CORE DIRECTORY`.

Each line of standard input is an address in JSON. It is deployed and asked over HTTP, and a line of JSON
tells the milliseconds to the first answer. `null` goes back and forth a hundred times instead, and
tells of that.
"""

import asyncio
import json
import os
import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path

from aegis.bootstrap import build_host, dedicate, start_server
from aegis.configuration import read
from aegis.engine.engine import Engine

TIMES = 100


async def main(directory):
    config = read(directory, data=directory / "data", port=0)
    lines = asyncio.StreamReader(limit=1 << 20)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    async with build_host(config) as host:
        await host.begin()
        server = await start_server(host, config)
        dedicate()
        await asyncio.sleep(1)  # it is there for a while before somebody deploys
        print(json.dumps({"address": server.address}), flush=True)
        while line := await lines.readline():
            address = json.loads(line)
            if address is None:
                print(json.dumps(await returned(host)), flush=True)
            else:
                print(json.dumps({"ms": await served(host, server, address)}), flush=True)
        await server.close()


async def served(host, server, address):
    """Milliseconds from an address to the first answer of its code over HTTP."""
    began = time.perf_counter()
    await host.deploy(address)
    place, _, port = server.address.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(place, int(port))
    body = b"{}"
    head = (
        f"POST /aegis/api/models/notes HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}"
    )
    writer.write(f"{head}\r\nContent-Type: application/json\r\n\r\n".encode() + body)
    status = await reader.readline()
    took = (time.perf_counter() - began) * 1e3
    writer.close()
    if b" 201 " not in status:
        raise RuntimeError(status)
    return took


async def returned(host):
    """Rollbacks, and what of each is the swap: from the old graph to the new one, ready to serve."""
    backs, swaps = [], []
    for _ in range(TIMES):
        began = time.perf_counter()
        await host.rollback("note")
        backs.append((time.perf_counter() - began) * 1e3)
    deploys = host._deploys
    for _ in range(TIMES):
        # As a deploy has it: nothing is known of it yet that is found out when it is asked.
        registry = replace(deploys.engine.registry)
        residents = deploys.engine.residents
        began = time.perf_counter()
        deploys.engine = Engine(registry, dict(residents), deploys._ledger, deploys.flows)
        _ = registry.models, registry.endpoints, registry.consumers("note.created")
        swaps.append((time.perf_counter() - began) * 1e6)
    return {
        "rollback": statistics.median(backs),
        "rollback_p99": sorted(backs)[TIMES * 99 // 100],
        "swap": statistics.median(swaps),
        "swap_p99": sorted(swaps)[TIMES * 99 // 100],
    }


if __name__ == "__main__":
    os.sched_setaffinity(0, {int(sys.argv[1])})
    asyncio.run(main(Path(sys.argv[2])))

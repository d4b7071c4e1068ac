"""A host that a state machine leads turn by turn, and ends as a kill or an operator would."""

import asyncio
import copy

from aegis import Refused
from aegis.adapters.components.python import PythonLoader
from aegis.adapters.storage.memory import MemoryStore
from aegis.core.errors import ConflictError
from aegis.core.policy import Policy
from aegis.core.port import REQUIRED
from aegis.engine.host import Host
from tests.engine.partner import Line
from tests.fakes import SteppedClock


class SlowStore(MemoryStore):
    """A store that takes some turns of the loop to store, and some more to say so."""

    turns = (0, 0)

    def commit(self, commit):
        return asyncio.ensure_future(self._later(commit))

    async def _later(self, commit):
        before, after = self.turns
        for _ in range(before):
            await asyncio.sleep(0)
        last = await super().commit(commit)
        for _ in range(after):
            await asyncio.sleep(0)
        return last


class Life:
    """One host on the loop of one process, from its start to its end."""

    def __init__(self, store, now, partner=None):
        self.runner = asyncio.Runner()
        self.clock = SteppedClock(now)
        self.line = Line(partner)
        self.store = store
        self.asked = []
        values = {"say": self.line}
        self.host = Host(
            store=store,
            clock=self.clock,
            loader=PythonLoader(),
            lookup=lambda key: values.get(key, REQUIRED),
            defaults=Policy(breaker=None, jitter=0),
        )
        self.run(self.host.open())
        self.is_deployed = False

    def run(self, awaitable):
        """The answer of what takes no time but that of the loop."""

        async def answer():
            return await asyncio.wait_for(awaitable, 5)

        return self.runner.run(answer())

    def start(self, awaitable, then):
        """Ask something whose answer, when it comes, is given to `then`."""

        async def ask():
            try:
                await awaitable
            except (Refused, ConflictError) as no:
                then(no)
            else:
                then(None)

        async def begin():
            self.asked.append(asyncio.ensure_future(ask()))

        self.run(begin())

    def turn(self, turns):
        """Let the loop turn so often."""

        async def turning():
            for _ in range(turns):
                await asyncio.sleep(0)

        self.run(turning())

    def settle(self):
        """Let the loop turn until nothing moves by itself."""

        async def settling():
            loop = asyncio.get_running_loop()
            still = 0
            while still < 3:
                await asyncio.sleep(0)
                still = 0 if loop._ready else still + 1

        self.run(settling())
        for task in self.asked:
            if task.done():
                task.result()

    def deploy(self, name, version, text):
        """Bring a component, and the code that open flows need besides."""
        self.run(self.host.deploy(name, version, text))
        self.run(self.host.resume())
        self.is_deployed = True

    def kill(self):
        """End at once; what is stored at this moment."""
        left = copy.deepcopy(self.store)
        left._is_open = False
        self.end()
        return left

    def end(self):
        """Let go of what would outlive a process in this one: the log, and the loop."""
        self.line.cut = True
        self.host.monitor.close()

        async def cancel():
            # What is cancelled may begin something else on its way out.
            while tasks := asyncio.all_tasks() - {asyncio.current_task()}:
                for task in tasks:
                    task.cancel()
                await asyncio.wait(tasks)

        self.runner.run(cancel())
        self.runner.close()

    def close(self):
        """End as an operator would."""
        self.run(self.host.close())
        self.end()
        return self.store

"""A partner for state machines: one effect for each key, and moods that tests set."""

import asyncio
from collections import defaultdict

from aegis import Refused

UNDO = {"refund": "pay", "unpack": "pack", "recall": "ship"}
MOODS = ("ok", "refuses", "raises", "raises after", "hangs", "hangs before")


class Partner:
    """Does what it is asked once for each key, and takes it back with the same key.

    A call that hangs waits in `hanging` for its `let_go`. `log` is what had an effect, by order.
    """

    def __init__(self):
        self.moods = {}
        self.hanging = []
        self.log = defaultdict(list)
        self.keys = defaultdict(set)
        self._known = {}

    def standing(self, order):
        """What was done for an order and not taken back, the oldest first."""
        left = []
        for what in self.log[order]:
            if what in UNDO:
                left.remove(UNDO[what])
            else:
                left.append(what)
        return left

    async def ask(self, what, order, key):
        """Answer as the mood is."""
        mood = self.moods.get(what, "ok")
        self.keys[order, UNDO.get(what, what)].add(key)
        if mood == "raises":
            raise OSError("the line is dead")
        if mood == "hangs before":
            await self._hang(what, order)
        self._act(what, order, key, refuses=mood == "refuses")
        if mood == "hangs":
            await self._hang(what, order)
        if mood == "raises after":
            raise OSError("the line broke")
        return "ok"

    async def _hang(self, what, order):
        call = asyncio.get_running_loop().create_future()
        self.hanging.append(call)
        try:
            await call
        finally:
            self.hanging.remove(call)

    def _act(self, what, order, key, *, refuses):
        """Have the effect, unless this key had its answer already."""
        known = self._known.get((what, key))
        if known is None:
            undone = UNDO.get(what)
            if undone is None:
                known = "no" if refuses else "done"
            elif refuses:
                raise Refused("it is not given back")
            else:
                known = "done" if self._known.get((undone, key)) == "done" else "nothing"
                self._known[undone, key] = "no"  # what comes after its undo comes too late
            self._known[what, key] = known
            if known == "done":
                self.log[order].append(what)
        if known == "no":
            raise Refused("no")


class Line:
    """The connection of one host to the partner, which ends with that host."""

    def __init__(self, partner):
        self.partner = partner
        self.cut = False

    async def __call__(self, what, order, key):
        if self.cut:
            raise OSError("nobody is there any more")
        return await self.partner.ask(what, order, key)

"""The audit log: who changed what runs here, when, from where, and what was refused."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import msgspec


class Action(StrEnum):
    """What an entry tells of."""

    DEPLOY = "deploy"
    ROLLBACK = "rollback"
    RESUME = "resume"  # code that open flows waited for was loaded from the store and serves
    UNDEPLOY = "undeploy"
    MIGRATE = "migrate"
    RESET = "reset"
    SPLIT = "split"  # a candidate was begun beside what is live, or gets another part
    PROMOTE = "promote"
    DROP = "drop"
    GRANT = "grant"
    REVOKE = "revoke"
    PIN = "pin"  # a key may sign what comes from an address
    UNPIN = "unpin"
    TRUST = "trust"  # nothing at an address has to be signed
    DISTRUST = "distrust"
    ALLOW = "allow"  # one older version may be deployed
    DISALLOW = "disallow"
    REFUSE = "refuse"


class Audit(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One entry. It is stored with what it tells of, never changed, and kept for ever.

    `about` is a component, or the address pattern of a pin; `address` is what was asked for,
    `resolved` what that was then, `digest` that of the code, `key` the one that signed or is
    pinned. `detail` says in words what came of it, of a refusal why; `fields` are for whoever
    counts. `who` is empty where nobody said. `n` counts from 1 without a gap, 0 until it is stored.
    """

    time: str
    action: Action
    who: str = ""
    about: str = ""
    version: str = ""
    address: str = ""
    resolved: str = ""
    digest: str = ""
    key: str = ""
    detail: str = ""
    fields: Mapping[str, str] = {}
    n: int = 0

    def line(self) -> str:
        """It in one line, for people."""
        what = f"{self.about}@{self.version}" if self.version else self.about
        said = [f"{self.n:>5}", self.time, f"{self.action.value:<9}", what or "-"]
        if self.fields.get("component"):
            said[3] = f"{self.fields['component']}@{self.version} of {self.about}"
        said += [f"by {self.who}"] if self.who else []
        said += [f"from {self.address}"] if self.address else []
        said += [f"({self.resolved})"] if self.resolved else []
        said += [f"key {self.key}"] if self.key else []
        said += [f"sha256 {self.digest[:12]}"] if self.digest else []
        said += [f": {self.detail}"] if self.detail else []
        return " ".join(text.translate(_ONE_LINE) for text in said)


# What somebody else wrote stays in its line, and moves no cursor.
_ONE_LINE = dict.fromkeys((*range(32), *range(0x7F, 0xA0), 0x2028, 0x2029), " ")

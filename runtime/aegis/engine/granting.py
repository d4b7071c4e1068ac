"""Grants and revokes: what an operator lets components reach of each other, kept and told of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from aegis.core.audit import Action, Audit
from aegis.core.errors import InvalidError, NotFoundError, closest
from aegis.core.grant import AccessStatus, Granted, Grants, read_grant
from aegis.core.manifest import NAME
from aegis.engine.auditing import audited
from aegis.protocols import Commit

if TYPE_CHECKING:
    from aegis.engine.deploys import Deploys


class Granting:
    """The grants of one host. A change of them is a swap: no component is loaded or opened anew."""

    def __init__(self, deploys: Deploys) -> None:
        self._deploys = deploys

    async def kept(self) -> Grants:
        """What is granted now, with what was before the restart."""
        kept = {one.component: one for one in await self._deploys.store.granted()}
        return replace(self._deploys.engine.registry.grants, kept=kept)

    async def grant(self, component: str, texts: Sequence[str], who: str) -> AccessStatus:
        """Let a component reach more; see Host.grant."""
        async with self._deploys.changing:
            self._deploys.check_open()
            return await self._become(component, self.giving(component, texts), who)

    async def revoke(self, component: str, texts: Sequence[str], who: str) -> AccessStatus:
        """Take from a component what it may reach; see Host.revoke."""
        async with self._deploys.changing:
            self._deploys.check_open()
            taken = [read_grant(text) for text in _some(component, texts)]
            grants = self._deploys.engine.registry.grants.taking(component, taken)
            return await self._become(component, grants, who)

    def giving(self, component: str, texts: Sequence[str]) -> Grants:
        """What is granted when that is added. Raises InvalidError."""
        given = [read_grant(text) for text in _some(component, texts)]
        return self._deploys.engine.registry.grants.giving(component, given)

    async def _become(self, component: str, grants: Grants, who: str) -> AccessStatus:
        registry = self._deploys.engine.registry
        changed = grants.changed(registry.grants)
        if changed:
            told = self.audits(registry.grants, grants, who)
            await self._deploys.store.commit(Commit(granted=changed, audits=told))
            registry = replace(registry, grants=grants)
            await self._deploys.swap(registry, self._deploys.engine.residents)
        return registry.access.status(component)

    def audits(self, before: Grants, after: Grants, who: str) -> list[Audit]:
        """What the audit log says of a change of grants."""
        told = []
        for one in after.changed(before):
            was = before.kept.get(one.component, Granted(component=one.component))
            taken = [text for text in one.taken if text not in was.taken]
            given = [text for text in one.given if text not in was.given]
            given += [text for text in was.taken if text not in one.taken and text not in given]
            for action, texts in ((Action.GRANT, given), (Action.REVOKE, taken)):
                if texts:
                    clock, detail = self._deploys.clock, ", ".join(texts)
                    told.append(audited(clock, action, one.component, who=who, detail=detail))
        return told

    def status(self, component: str) -> AccessStatus:
        """What a live component exports, asks for and was granted. Raises NotFoundError."""
        live = self._deploys.engine.registry.live
        if component not in live:
            hint = closest(component, live)
            raise NotFoundError(f"there is no component {component!r}", hint=hint)
        return self._deploys.engine.registry.access.status(component)


def _some(component: str, texts: Sequence[str]) -> Sequence[str]:
    """What is granted to a component or taken from it. Raises InvalidError where it is nothing."""
    if not NAME.match(component):
        raise InvalidError(f"{component!r} is no name of a component")
    if not texts:
        raise InvalidError(
            f"nothing is said that {component} is to reach",
            hint='name it, as in "orders.Order:read" or "orders:order.*"',
        )
    return texts

"""What a deploy would make of stored records, as a cell shows it: tables, and lines of text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape

from aegis.core.migration import Migrated, Migration, ModelMigration
from aegis.engine.migrations import said
from aegis_kernel.tables import BAD, DIM, GOOD, cell, table


class MigrationView:
    """A migration that was tried on a copy. `migration` has the figures."""

    def __init__(self, migration: Migration) -> None:
        self.migration = migration

    def __repr__(self) -> str:
        found = self.migration
        lines = [f"{found.component} {found.version}: {self._verdict()}"]
        for model in found.models:
            lines.append(f"{model.model}: {_count(model.records, 'record')}, {model.failed} fail")
            lines += [f"  {field}: {what}" for field, what in _fields(model)]
            lines += [
                f"  ! {_count(group.records, 'record')}: {group.error} ({', '.join(group.ids)})"
                for group in model.failing
            ]
        lines += [f"! {problem}" for problem in found.problems]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        found = self.migration
        color = GOOD if found.fits else BAD
        name = f"<strong>{cell(found.component)} {cell(found.version)}</strong>"
        verdict = f'<span style="color:{color}">{escape(self._verdict())}</span>'
        parts = [f"<div>{name} {verdict}</div>"]
        parts += [
            f'<div style="color:{BAD}">\u26a0 {cell(problem, 400)}</div>'
            for problem in found.problems
        ]
        parts += [_model(model) for model in found.models]
        return f'<div style="overflow-x:auto">{"".join(parts)}</div>'

    def _verdict(self) -> str:
        found = self.migration
        tried = f"tried on a copy as of event {found.seq:,}; nothing was changed"
        if not found.fits:
            return f"would be refused ({tried})"
        if not found.models:
            return "every stored record fits as it is"
        flows = f", and {_count(found.flows, 'open flow')} would move" if found.flows else ""
        records = sum(model.records for model in found.models)
        return f"{_count(records, 'record')} would be migrated{flows} ({tried})"


def migrated(done: Migrated) -> str:
    """What a deployment migrated, in a line."""
    kept = "" if done.backup is None else f"; the data before is in {done.backup}"
    return f"{said(done)}{kept}"


def _model(model: ModelMigration) -> str:
    """What becomes of the records of one model: its fields, those that fail, some of them."""
    head = f"<strong>{cell(model.model)}</strong>: {_count(model.records, 'record')}"
    parts = [f"<div>{head}, {model.failed:,} fail</div>"]
    if fields := [[cell(field), cell(what)] for field, what in _fields(model)]:
        parts.append(table(["field", "what becomes of it"], fields))
    if model.failing:
        rows = [
            [
                f'<span style="color:{BAD}">{cell(group.error, 200)}</span>',
                f"{group.records:,}",
                cell(", ".join(group.ids), 200),
            ]
            for group in model.failing
        ]
        parts.append(table(["fails with", "records", "the first"], rows))
    rows = []
    for sample in model.samples:
        names = [*(sample.before or ()), *sample.after]
        for name in dict.fromkeys(names):
            before, after = _value(sample.before, name), _value(sample.after, name)
            if before != after:
                rows.append([cell(sample.id), cell(name), before, after])
    if rows:
        parts.append(table(["record", "field", "before", "after"], rows))
    return "".join(parts)


def _fields(model: ModelMigration) -> Iterator[tuple[str, str]]:
    """Each field that is different, and in how many records."""
    kinds = (("added", model.added), ("removed", model.removed), ("changed", model.changed))
    for what, counts in kinds:
        for field, records in sorted(counts.items()):
            yield field, f"{what} in {_count(records, 'record')}"


def _value(fields: Mapping[str, object] | None, name: str) -> str:
    if fields is None or name not in fields:
        return f'<span style="{DIM}">\u2013</span>'
    return cell(fields[name])


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"

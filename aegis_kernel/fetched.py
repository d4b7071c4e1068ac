"""What an address has, as a cell shows it: the components, their versions, digests and files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from aegis.core.bundle import Bundle
from aegis.engine.fetching import Fetched
from aegis_kernel.tables import cell, codes, table

FILES = 12  # named of one component; the others are counted


class FetchedView(Sequence[Fetched]):
    """The components that were fetched, in a table; nothing of them has run."""

    def __init__(self, found: Sequence[Fetched]) -> None:
        self._found = found

    def __len__(self) -> int:
        return len(self._found)

    def __getitem__(self, index: int) -> Fetched:  # type: ignore[override]
        return self._found[index]

    def __iter__(self) -> Iterator[Fetched]:
        return iter(self._found)

    def __repr__(self) -> str:
        lines = []
        for bundle in (one.bundle for one in self._found):
            lines.append(
                f"{bundle.manifest.name} {bundle.manifest.version} ({bundle.digest[:8]}) "
                f"from {bundle.address}" + (f" at {bundle.resolved}" if bundle.resolved else "")
            )
            lines += [f"  {len(bundle.files[path]):>9,}  {path}" for path in _shown(bundle)]
            lines += [f"  and {more} more" for more in _more(bundle)]
        return "\n".join(lines) or "no component"

    def _repr_html_(self) -> str:
        rows = []
        for bundle in (one.bundle for one in self._found):
            files = codes(_shown(bundle)) + "".join(f" and {more} more" for more in _more(bundle))
            rows.append(
                [
                    f"<strong>{cell(bundle.manifest.name)}</strong>",
                    cell(bundle.manifest.version),
                    f"<code>{cell(bundle.digest[:8])}</code>",
                    cell(bundle.address),
                    f"<code>{cell(bundle.resolved, 12)}</code>" if bundle.resolved else "",
                    files,
                    f"{sum(map(len, bundle.files.values())):,}",
                ]
            )
        columns = ("component", "version", "digest", "from", "at", "files", "bytes")
        return table(columns, rows) if rows else "<div>no component</div>"


def _shown(bundle: Bundle) -> Sequence[str]:
    return sorted(bundle.files)[:FILES]


def _more(bundle: Bundle) -> Sequence[int]:
    left = len(bundle.files) - FILES
    return [left] if left > 0 else []

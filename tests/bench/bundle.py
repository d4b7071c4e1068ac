"""A signed bundle of 200 KB from a server on this machine, from its address to its first answer.

Also what comes after: the way back, and the assignment that a swap comes down to.
"""

from __future__ import annotations

import secrets
import statistics
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from aegis.adapters.trust.signing import sign
from aegis.core.signature import key_text
from tests.bench.figure import Figure
from tests.bench.machine import SERVER
from tests.bench.program import COMPONENTS, Program
from tests.hub import Hub
from tests.sources import zipped

VERSIONS = 21
SIZE = 200_000  # bytes of the files of a bundle, of code and of a table that does not compress


def measure(directory: Path) -> list[Figure]:
    key = Ed25519PrivateKey.generate()
    with Hub() as hub:
        for minor in range(VERSIONS):
            hub.files(f"note-{minor}.zip", _signed(directory / f"note-{minor}", minor, key))
        home = directory / "home"
        home.mkdir()
        pins = f'[trust.pins]\n"{hub.url}/files/" = ["{key_text(key.public_key().public_bytes_raw())}"]\n'
        (home / "aegis.toml").write_text(pins)
        with Program("bundled", str(SERVER), home) as host:
            host.hear()
            took = []
            for minor in range(VERSIONS):
                host.tell(f"{hub.url}/files/note-{minor}.zip")
                took.append(float(host.hear()["ms"]))
            host.tell(None)
            back = host.hear()
    return [
        Figure(name="the first bundle of a host", value=took[0], unit="ms", most=150),
        Figure(
            name="the following ones, p50",
            value=statistics.median(took[1:]),
            unit="ms",
            most=150,
            note=f"longest {max(took[1:]):.0f} ms; signed zips of {SIZE // 1000} KB",
        ),
        Figure(
            name="rollback, p50",
            value=back["rollback"],
            unit="ms",
            most=5,
            note=f"p99 {back['rollback_p99']:.1f} ms, with its commit",
        ),
        Figure(
            name="  of that the swap itself, p50",
            value=back["swap"],
            unit="us",
            most=100,
            note=f"p99 {back['swap_p99']:.0f} us",
        ),
    ]


def _signed(folder: Path, minor: int, key: Ed25519PrivateKey) -> bytes:
    folder.mkdir()
    text = (COMPONENTS / "note.py").read_text()
    text = text.replace("customer: str\n    total: str", 'customer: str = ""\n    total: str = ""')
    table = secrets.token_hex(SIZE // 2)
    (folder / "note.py").write_text(f"import table\n{text}")
    (folder / "table.py").write_text(f'VERSION = {minor}\nTABLE = "{table}"\n')
    manifest = f'[component]\nname = "note"\nversion = "1.{minor}.0"\nmodels = ["note.py"]\n'
    (folder / "aegis.toml").write_text(manifest)
    sign(folder, key, signed=datetime.now(UTC))
    return zipped({path.name: path.read_bytes() for path in folder.iterdir()})

"""Components of an owner who signs them, as they come from somewhere else."""

from dataclasses import replace

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from aegis.adapters.trust.signing import described, signature_of
from aegis.core.bundle import Bundle
from aegis.core.manifest import FILE, SIGNATURE, read_manifest
from aegis.core.signature import key_text

HOME = "github:acme/orders"
SIGNED = "2026-02-01T00:00:00.000Z"
CODE = b"""
from aegis import Model

class Order(Model, endpoint="orders"):
    total: int = 0
"""
MANIFEST = """
# What acme sells.
[component]
name = "NAME"
version = "VERSION"
models = ["orders.py"]
"""


class Owner:
    """Somebody with a key."""

    def __init__(self):
        self.private = Ed25519PrivateKey.generate()
        self.key = key_text(self.private.public_key().public_bytes_raw())

    def sign(self, manifest, *, signed=SIGNED, expires=None):
        """The content of an aegis.sig."""
        return signature_of(self.private, manifest, signed=signed, expires=expires).document()

    def bundle(self, version="1.0.0", *, name="orders", address=HOME, more="", files=None, **said):
        """A signed component."""
        files = {"orders.py": CODE + f"# {version}\n".encode()} if files is None else files
        text = MANIFEST.replace("NAME", name).replace("VERSION", version) + more
        manifest = described(text.encode(), files)
        return Bundle(
            manifest=read_manifest(manifest),
            files={**files, FILE: manifest, SIGNATURE: self.sign(manifest, **said)},
            address=address,
            resolved="0" * 40,
        )


def with_files(bundle, *, without=(), **files):
    """A bundle of which some files are others; its manifest is read anew, as whoever fetches does."""
    left = {path: content for path, content in bundle.files.items() if path not in without}
    left |= files
    manifest = read_manifest(left[FILE]) if FILE in left else bundle.manifest
    return replace(bundle, files=left, manifest=manifest)

"""Signatures of components: keys, signing, and the checks of a host that pins keys."""

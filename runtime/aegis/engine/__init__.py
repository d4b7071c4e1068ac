"""The use cases: asyncio, but the outside is reached only through `aegis.protocols`."""

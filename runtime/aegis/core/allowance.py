"""The most that code in a sandbox may use, whatever it asks for."""

from __future__ import annotations

from typing import Annotated

import msgspec

PAGE = 64 << 10  # bytes: what memory is counted in there


class Allowance(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Table `[wasm]` of aegis.toml: what a component in WebAssembly gets that asks for no less.

    `seconds` of computing in one call, while it waits for the host not counted; `memory` and
    `output`, of one text that it gives, in bytes; `fuel`, in instructions, is not counted where it
    is None and the component asks for none.
    """

    seconds: Annotated[float, msgspec.Meta(gt=0, le=3600)] = 1.0
    memory: Annotated[int, msgspec.Meta(ge=PAGE, le=4 << 30)] = 64 << 20
    output: Annotated[int, msgspec.Meta(ge=1 << 10, le=64 << 20)] = 1 << 20
    fuel: Annotated[int, msgspec.Meta(ge=1, le=(1 << 63) - 1)] | None = None

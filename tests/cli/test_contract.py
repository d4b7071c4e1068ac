"""What a component is built against is printed by the command, as a tool that knows WIT reads it."""

from __future__ import annotations

import re

import pytest

from aegis.cli import main
from aegis.core.description import CAPABILITIES, CONTRACT, CONTRACT_VERSION


def test_the_contract_is_printed_in_the_version_that_this_host_speaks(
    capsys: pytest.CaptureFixture[str],
) -> None:
    main(["wit"])
    said = capsys.readouterr().out
    assert f"package {CONTRACT}@{CONTRACT_VERSION};" in said
    interfaces = re.findall(r"^interface ([a-z-]+) ", said, re.MULTILINE)
    assert set(interfaces) == {"host", *CAPABILITIES}
    worlds = re.findall(r"^world ([a-z-]+) ", said, re.MULTILINE)
    assert {"component", "model", "adapter", "service", "inbound-port"} <= set(worlds)

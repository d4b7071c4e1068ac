"""Pins in the configuration and pins in the data directory hold the same contract."""

import json

import pytest

from aegis.adapters.trust.pinned import PinnedTrust
from aegis.adapters.trust.pins import PinFile
from aegis.core.trust import Trusted
from tests.contracts.trust import TrustContract


class TestConfigured(TrustContract):
    @pytest.fixture
    def trust(self):
        return PinnedTrust


class TestOfAFile(TrustContract):
    @pytest.fixture
    def trust(self, tmp_path):
        def made(trusted):
            file = PinFile(tmp_path)
            for pattern, keys in trusted.pins.items():
                for key in keys:
                    file.pin(pattern, key, "ada")
            for one in trusted.older:
                file.allow(one, "ada")
            if file.path.exists():
                assert json.loads(file.path.read_text())["by"] == "ada"
            return PinnedTrust(Trusted(unsigned=trusted.unsigned), file)

        return made

"""What is sealed opens with its key only, as what it is about only, and undamaged only."""

import base64
import logging
import os
import stat

import pytest

from aegis.adapters.cipher import FILE, AesCipher, given_key, kept_key, random_key
from aegis.bootstrap import build_host
from aegis.configuration import Config, read
from aegis.core.errors import ConfigError, RecordingError
from aegis.core.port import REQUIRED

TEXT = b"what the bank said"


def test_what_is_sealed_opens_again_and_looks_different_each_time():
    cipher = AesCipher(random_key())
    one, other = cipher.seal(TEXT, b"flow.1.1"), cipher.seal(TEXT, b"flow.1.1")
    assert cipher.open(one, b"flow.1.1") == cipher.open(other, b"flow.1.1") == TEXT
    assert one != other
    assert TEXT not in one


def test_another_key_is_named_as_the_reason():
    sealed = AesCipher(random_key()).seal(TEXT, b"a")
    with pytest.raises(RecordingError, match="another key"):
        AesCipher(random_key()).open(sealed, b"a")


@pytest.mark.parametrize("at", [0, 1, 5, 20, -1])
def test_a_flipped_bit_anywhere_is_damage(at):
    cipher = AesCipher(random_key())
    sealed = bytearray(cipher.seal(TEXT, b"a"))
    sealed[at] ^= 1
    with pytest.raises(RecordingError, match=r"damaged|another key"):
        cipher.open(bytes(sealed), b"a")


@pytest.mark.parametrize("sealed", [b"", b"\x01", b"x" * 100])
def test_what_was_never_sealed_is_damage(sealed):
    with pytest.raises(RecordingError, match="damaged"):
        AesCipher(random_key()).open(sealed, b"a")


def test_a_text_opens_only_as_what_it_is_about():
    cipher = AesCipher(random_key())
    with pytest.raises(RecordingError, match="damaged"):
        cipher.open(cipher.seal(TEXT, b"flow.1.1"), b"flow.1.2")


def test_a_key_file_is_made_once_private_and_it_is_said(tmp_path, caplog):
    with caplog.at_level(logging.WARNING, "aegis.host"):
        sealed = AesCipher(kept_key(tmp_path)).seal(TEXT, b"a")
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600
    assert str(tmp_path / FILE) in caplog.text
    caplog.clear()
    assert AesCipher(kept_key(tmp_path)).open(sealed, b"a") == TEXT
    assert caplog.text == ""


def test_a_key_file_of_another_length_is_no_key(tmp_path):
    (tmp_path / FILE).write_bytes(b"short")
    with pytest.raises(ConfigError, match="is no key: it has 5 bytes"):
        AesCipher(kept_key(tmp_path)).seal(TEXT, b"a")


def test_a_key_is_given_in_base64_or_hex():
    key = os.urandom(32)
    sealed = AesCipher(given_key(key.hex())).seal(TEXT, b"a")
    assert AesCipher(given_key(base64.b64encode(key).decode())).open(sealed, b"a") == TEXT


@pytest.mark.parametrize("text", ["", "secret", "x" * 64, base64.b64encode(b"short").decode()])
def test_a_text_that_is_no_key_is_refused(text):
    with pytest.raises(ConfigError, match="no key of 32 bytes"):
        given_key(text)


def test_the_configuration_says_whether_and_with_what_it_is_recorded(tmp_path, monkeypatch):
    assert (Config().recordings, Config().recordings_key) == (True, None)
    (tmp_path / "aegis.toml").write_text('[replay]\nrecordings = false\n[keys]\nrecordings = "k"\n')
    config = read(tmp_path)
    assert (config.recordings, config.recordings_key) == (False, "k")
    assert config.lookup("keys.recordings") is REQUIRED
    monkeypatch.setenv("AEGIS_REPLAY_RECORDINGS", "true")
    monkeypatch.setenv("AEGIS_KEYS_RECORDINGS", "other")
    config = read(tmp_path)
    assert (config.recordings, config.recordings_key) == (True, "other")
    with pytest.raises(ConfigError, match="no key of 32 bytes"):
        build_host(config)


@pytest.mark.parametrize("text", ['[replay]\nrecordings = "perhaps"', "[keys]\nrecordings = 5"])
def test_a_wrong_value_is_told_when_the_file_is_read(tmp_path, text):
    (tmp_path / "aegis.toml").write_text(text)
    with pytest.raises(ConfigError, match="recordings"):
        read(tmp_path)

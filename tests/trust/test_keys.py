"""Keys of those who sign, and pins of hosts, as the command looks after them."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from aegis.adapters.trust.keys import KeyFiles, LockedError, directory_of
from aegis.adapters.trust.pins import PinFile
from aegis.core.errors import ConfigError, ConflictError, InvalidError, NotFoundError


def test_a_key_is_made_listed_and_shown_and_its_file_is_private(aegis, tmp_path):
    made = aegis("keys", "new", "acme")
    key = made.out.strip()
    file = tmp_path / "config" / "aegis" / "keys" / "acme.pem"
    assert str(file) in made.said
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    assert aegis("keys", "list").out == f"acme {key}\n"
    assert aegis("keys", "show").out == f"{key}\n"
    before = file.read_bytes()
    assert "already" in aegis("keys", "new", "acme", expect=2).said
    assert file.read_bytes() == before


def test_a_host_is_told_whom_to_trust_and_no_more(aegis, tmp_path):
    key = aegis("keys", "new", "acme").out.strip()
    data = tmp_path / "data"
    data.mkdir()
    aegis("keys", "pin", "github:acme/*", key, "--data", data)
    aegis("keys", "allow-older", "github:acme/orders", "orders@1.2.0", "--data", data)
    assert aegis("keys", "list", "--data", data).out.splitlines() == [
        f"github:acme/* {key}",
        "github:acme/orders orders@1.2.0 although it is older",
    ]
    told = aegis("keys", "unpin", "github:acme/", key, "--data", data, expect=2).said
    assert "did you mean 'github:acme/*'" in told
    aegis("keys", "unpin", "github:acme/*", key, "--data", data)
    aegis("keys", "disallow-older", "github:acme/orders", "orders@1.2.0", "--data", data)
    assert aegis("keys", "list", "--data", data).out == ""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("github:acme/*", "ed25519:short"), "no ed25519 key"),
        (("github:acme/*", "rsa:AAAA"), "no key that Aegis knows"),
        (("github:acme/orders@1.0.0", None), "says a version"),
        (("github:*/orders", None), "has a *"),
        (("*", None), "no pattern"),
        (("https://*/x", None), "no pattern"),
        (("https://example.com/../x", None), "no plain address"),
        (("github:acmе/*", None), "no plain address"),  # noqa: RUF001 -- a look-alike
    ],
)
def test_what_is_no_pin_is_refused_and_nothing_is_written(tmp_path, words, said):
    key = words[1] or KeyFiles(tmp_path).new("acme")
    file = PinFile(tmp_path)
    with pytest.raises(InvalidError, match=said.replace("*", r"\*")):
        file.pin(words[0], key, "ada")
    assert not file.path.exists()


def test_pins_need_a_directory(aegis, tmp_path):
    key = KeyFiles(tmp_path).new("acme")
    said = aegis("keys", "pin", "github:acme/*", key, "--data", tmp_path / "no", expect=2).said
    assert "there is no directory" in said


def test_a_passphrase_hides_a_key(tmp_path):
    keys = KeyFiles(tmp_path)
    public = keys.new("acme", "hunter2")
    assert keys.public("acme", "hunter2") == public
    assert b"ENCRYPTED" in (tmp_path / "acme.pem").read_bytes()
    with pytest.raises(LockedError, match="has a passphrase"):
        keys.open("acme")
    with pytest.raises(InvalidError, match="another one") as told:
        keys.open("acme", "hunter3")
    assert "hunter" not in str(told.value)
    with pytest.raises(InvalidError, match="hides nothing"):
        keys.new("other", "")
    assert [(one.name, one.public) for one in keys.listed()] == [("acme", None)]


def test_a_passphrase_too_many_is_no_mistake(tmp_path):
    keys = KeyFiles(tmp_path)
    assert keys.new("acme") == keys.public("acme", "hunter2")


def test_what_is_no_key_file_is_refused(tmp_path):
    keys = KeyFiles(tmp_path)
    other = generate_private_key(SECP256R1())
    texts = {
        "empty": b"",
        "text": b"hello",
        "other": other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
    }
    for name, text in texts.items():
        (tmp_path / f"{name}.pem").write_bytes(text)
        (tmp_path / f"{name}.pem").chmod(0o600)
        with pytest.raises(ConfigError, match=r"no private key|another kind"):
            keys.open(name)
    keys.new("acme")
    (tmp_path / "acme.pem").chmod(0o644)
    with pytest.raises(ConfigError, match="others may read"):
        keys.open("acme")


def test_names_of_keys_lead_nowhere_else(tmp_path):
    keys = KeyFiles(tmp_path / "keys")
    for name in ("../acme", "a/b", "", ".", "Ä", "x" * 65):
        with pytest.raises(InvalidError, match="no name of a key"):
            keys.new(name)
    with pytest.raises(NotFoundError, match="no key"):
        keys.only()
    keys.new("acme")
    assert keys.only() == "acme"
    with pytest.raises(NotFoundError, match="did you mean 'acme'"):
        keys.open("acne")
    with pytest.raises(ConflictError, match="already"):
        keys.new("acme")
    keys.new("other")
    with pytest.raises(InvalidError, match="several"):
        keys.only()


def test_keys_are_in_the_folder_for_configuration(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert directory_of({}) == tmp_path / ".config" / "aegis" / "keys"
    assert directory_of({"XDG_CONFIG_HOME": "/c"}).as_posix() == "/c/aegis/keys"
    assert directory_of({"XDG_CONFIG_HOME": "c"}) == tmp_path / ".config" / "aegis" / "keys"

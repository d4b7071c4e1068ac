"""What `[components]` wants, versions and following, in an IPython shell of this process."""

import sys

import pytest
from IPython.core.error import UsageError

from aegis.core.errors import ConflictError, NotFoundError
from tests.hub import Hub
from tests.kernel.shell import Session
from tests.sources import orders

TOML = """
[trust]
unsigned = ["github:acme/*"]
[sources.github]
api = "{api}"
[components]
orders = "github:acme/orders@^1"
"""


@pytest.fixture
def hub():
    with Hub() as hub:
        hub.repo("acme/orders").commit(orders("1.2.0"), tag="v1.2.0")
        yield hub


@pytest.fixture
def session(hub, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "aegis.toml").write_text(TOML.format(api=hub.github))
    before = sys.modules["__main__"]
    session = Session()
    yield session
    session.close()
    sys.modules["__main__"] = before


def test_what_is_wanted_is_there_before_the_first_cell(session, hub, tmp_path, capsys):
    assert session.run("host.create(Order).total") == 3
    assert 'version = "1.2.0"' in (tmp_path / "aegis.lock").read_text()
    hub.repo("acme/orders").commit(orders("1.3.0") | {"pricing.py": "PRICE = 4\n"}, tag="v1.3.0")
    session.run("%aegis lock")
    assert "orders 1.2.0 from github:acme/orders@^1" in capsys.readouterr().out
    session.run("%aegis lock orders --upgrade")
    assert "orders 1.3.0" in capsys.readouterr().out
    assert session.run("host.create(Order).total") == 3


def test_a_cell_follows_an_address_and_sees_what_came(session, hub):
    assert repr(session.run("%aegis follow")) == "nothing is followed"
    hub.repo("acme/orders").commit(orders("1.3.0") | {"pricing.py": "PRICE = 4\n"}, tag="v1.3.0")
    shown = session.run("%aegis follow orders")
    assert repr(shown).startswith("orders 1.3.0 follows github:acme/orders@^1 (^1) every 300 s")
    assert session.run("host.create(Order).total") == 4
    session.run("%aegis rollback orders")
    shown = session.run("host.followed()")
    assert "1.3.0 is held: somebody went back to 1.2.0" in repr(shown)
    assert "1.3.0 is held" in shown._repr_html_()
    shown = session.run("%aegis versions orders")
    said = repr(shown).splitlines()
    assert said[0].startswith("orders: orders@1.2.0+")
    assert [line.split()[:3] for line in said if line.startswith("*")] == [["*", "3", "1.2.0"]]
    assert "github:acme/orders@^1: 1.3.0, 1.2.0" in said
    assert "<table" in shown._repr_html_()
    assert session.run("host.versions('orders').versions.offers") == ("1.3.0", "1.2.0")
    session.run("%aegis unfollow orders")
    assert repr(session.run("%aegis follow")) == "nothing is followed"


@pytest.mark.parametrize(
    ("line", "kind", "said"),
    [
        ("%aegis versions order", NotFoundError, "did you mean 'orders'"),
        ("%aegis unfollow orders", NotFoundError, "nothing is followed"),
        ("%aegis follow orders github:acme/orders@^2", ConflictError, r"aegis\.toml"),
        ("%aegis lock orders", UsageError, "--upgrade"),
        ("%aegis lock order --upgrade", NotFoundError, "did you mean 'orders'"),
        ("%aegis versions", UsageError, "%aegis versions NAME"),
    ],
)
def test_a_mistake_is_told(session, line, kind, said):
    with pytest.raises(kind, match=said):
        session.run(line)


def test_what_is_not_there_is_told_by_name(session, hub):
    hub.close()
    assert "cannot be read" in repr(session.run("%aegis versions orders"))
    assert session.run("host.create(Order).total") == 3

"""`%aegis deploy` and `%aegis fetch` of addresses, in an IPython shell of this process."""

import sys

import pytest
from IPython.core.completer import provisionalcompleter

from aegis.core.errors import ComponentError, InvalidError, ManifestError, SourceError
from tests.hub import Hub
from tests.kernel.shell import Session
from tests.sources import book, cell, described, orders, wheel


@pytest.fixture(scope="module")
def hub():
    with Hub() as hub:
        yield hub


@pytest.fixture
def here(tmp_path, monkeypatch, hub):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "aegis.toml").write_text(
        f'[sources.github]\napi = "{hub.github}"\n[trust]\nunsigned = ["github:acme/*"]\n'
    )
    return tmp_path


@pytest.fixture
def session(here):
    before = sys.modules["__main__"]
    session = Session()
    yield session
    session.close()
    sys.modules["__main__"] = before


def test_a_repository_is_deployed_and_its_names_are_bound(session, hub):
    repo = hub.repo("acme/bound")
    repo.commit(orders("1.2.0"), tag="v1.2.0")
    shown = session.run("%aegis deploy github:acme/bound@^1")
    assert "orders 1.2.0" in repr(shown)
    assert "github:acme/bound@^1" in shown._repr_html_()
    assert session.run("host.create(Order).total") == 3
    repo.commit(orders("1.3.0") | {"pricing.py": "PRICE = 4\n"}, tag="v1.3.0")
    shown = session.run("host.deploy('github:acme/bound@^1')")
    assert session.run("host.create(Order).total") == 4


def test_what_cannot_be_deployed_is_told_and_the_old_version_serves(session, hub):
    repo = hub.repo("acme/broken")
    repo.commit(orders("1.2.0"), tag="v1.2.0")
    session.run("%aegis deploy github:acme/broken")
    repo.commit({"orders.py": '__version__ = "1.3.0"\nx = 1 / 0\n'}, branch="bad")
    error, traceback = session.fails("%aegis deploy github:acme/broken@bad", ComponentError)
    assert error.fields["line"] == 2
    assert "still serves" in traceback
    for line, kind, said in [
        ("%aegis deploy github:acme/absent", SourceError, "there is no github:acme/absent"),
        ("%aegis deploy github:acme/broken@^9", SourceError, "no version in ^9"),
        ("%aegis deploy githup:acme/broken", InvalidError, "did you mean 'github'"),
        ("%aegis fetch .", ManifestError, "has no component"),
    ]:
        error, traceback = session.fails(line, kind)
        assert said in str(error)
        assert "anywhere.py" not in traceback
    assert session.run("host.create(Order).total") == 3


def test_a_notebook_a_folder_and_a_wheel_are_addresses(session, here):
    (here / "book.ipynb").write_text(book("x = 1", cell("1.0.0")))
    (here / "pricing.py").write_text("PRICE = 5\n")
    session.run("%aegis deploy book.ipynb#orders")
    assert session.run("host.create(Order).total") == 5
    assert here / "book.ipynb" in session.notebook.depends
    (here / "shop.whl").write_bytes(wheel(described("1.1.0")))
    session.run("%aegis deploy shop.whl")
    assert session.run("host.create(Order).total") == 3
    folder = here / "loose"
    folder.mkdir()
    for path in ("orders.py", "pricing.py"):
        (folder / path).write_text(orders("1.2.0")[path])
    session.run("%aegis deploy loose")
    assert session.run("%aegis deploy loose/orders.py").changes[0].startswith("nothing changed")


def test_what_an_address_has_is_shown_and_does_not_run(session, hub):
    repo = hub.repo("acme/shown")
    commit = repo.commit(orders("1.2.0") | {"pricing.py": "raise SystemExit('<b>')\n"})
    shown = session.run("%aegis fetch github:acme/shown")
    assert repr(shown).splitlines()[0].startswith("orders 1.2.0 (")
    assert commit in repr(shown)
    assert "pricing.py" in shown._repr_html_()
    (found,) = session.run("host.fetch('github:acme/shown')")
    assert found.bundle.resolved == commit
    assert session.run("host.status().components") == ()


def test_a_cell_is_an_address(session):
    session.run(cell().replace("import pricing\n", "class pricing: PRICE = 3\n"))
    shown = session.run("%aegis fetch cell:orders")
    assert "orders 1.2.0" in repr(shown)
    with provisionalcompleter():
        found = {one.text for one in session.shell.Completer.completions("%aegis fetch cell:", 18)}
    assert any("cell:orders" in text for text in found)
    with provisionalcompleter():
        found = {one.text for one in session.shell.Completer.completions("%aegis deploy gith", 18)}
    assert any("github:" in text for text in found)

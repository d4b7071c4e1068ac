"""A kernel deploys modules in WebAssembly from their files, and tells of them."""

import pytest

from tests.wasm.shop import built, shop


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shop.wasm").write_bytes(built(shop()))
    (tmp_path / "next.wat").write_text(shop("1.1.0", status="SENT"))
    (tmp_path / "cut.wasm").write_bytes(built(shop())[:99])
    return tmp_path


def test_a_module_is_planned_deployed_and_told_of(files, session):
    assert "shop 1.0.0" in repr(session.run("%aegis plan shop.wasm"))
    session.run("%aegis deploy shop.wasm")
    for what in ("shop", "shop.Order", "shop.Order.finish"):
        assert "shop" in repr(session.run(f"%aegis about {what}"))
    assert "1.0.0" in repr(session.run("%aegis status"))
    session.run("%aegis deploy next.wat")
    made = session.run("host.call(host.create('Order'), 'finish')")
    assert made.status == "SENT"
    session.run("%aegis rollback shop")
    assert session.run("host.call(host.create('Order'), 'finish')").status == "DONE"


def test_a_broken_one_is_told_by_its_file_and_the_old_one_serves(files, session):
    session.run("%aegis deploy shop.wasm")
    error, _ = session.fails("%aegis deploy cut.wasm", Exception)
    assert "cut.wasm" in str(error)
    assert "it cannot be compiled" in str(error)
    assert session.run("host.call(host.create('Order'), 'finish')").status == "DONE"
    session.run("%aegis watch next.wat")
    assert session.run("host.call(host.create('Order'), 'finish')").status == "SENT"

"""`aegis new`, `check` and `fetch`, as processes."""

import subprocess
import sys
from pathlib import Path

import pytest

from aegis.adapters.components.files import read_component
from aegis.cli.scaffold import files
from aegis.core.code import parsed
from aegis.core.errors import InvalidError
from aegis.core.manifest import read_manifest
from tests.hub import Hub
from tests.sources import PRICING, described, manifest, orders, wheel


@pytest.fixture
def run(tmp_path):
    """Runs a program in a folder: `run("aegis", "new", "orders")`; what it said on both streams."""

    def run(program, *words, expect=0, folder=tmp_path):
        module = {"aegis": "aegis.cli"}.get(program, program)
        done = subprocess.run(
            [sys.executable, "-m", module, *map(str, words)],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == expect, done.stderr + done.stdout
        return done.stderr + done.stdout

    return run


def test_a_new_component_is_sound_and_passes_its_own_test(run, tmp_path):
    assert "orders is in orders" in run("aegis", "new", "orders")
    assert "orders 0.1.0" in run("aegis", "check", "orders")
    (tmp_path / "orders" / "pytest.ini").write_text("[pytest]\n")
    said = run("pytest", "-q", "-p", "no:cacheprovider", folder=tmp_path / "orders")
    assert "2 passed" in said
    assert read_component(tmp_path / "orders" / "orders.py").result().version == "0.1.0"
    assert "there is something in orders" in run("aegis", "new", "orders", expect=2)


@pytest.mark.parametrize("name", ["a", "s", "order", "my-shop_2", "model", "mail", "consoles"])
def test_any_name_gives_files_that_can_be_read(name):
    texts = files(name, name)
    assert read_manifest(texts["aegis.toml"].encode()).name == name
    for path, text in texts.items():
        if path.endswith(".py"):
            parsed(text, name, path)


@pytest.mark.parametrize("name", ["Orders", "1x", "json", "class", "aegis", "flow", "../x", ""])
def test_what_is_no_name_for_a_component_is_refused(name):
    with pytest.raises(InvalidError):
        files(name, name)


def test_all_problems_of_components_are_told_by_file_and_line(run, tmp_path):
    def put(folder, texts):
        for path, text in texts.items():
            file = tmp_path / folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)

    put("syntax", described() | {"pricing.py": "PRICE = (\n"})
    said = run("aegis", "check", "syntax", expect=2)
    assert "pricing.py is not what the manifest says" in said
    put("digests", described() | {"orders.py": "x = 1\n", "pricing.py": "PRICE = 4\n"})
    said = run("aegis", "check", "digests", expect=2)
    assert "orders.py is not what" in said
    assert "pricing.py is not what" in said
    put("loose", orders() | {"pricing.py": "PRICE = (\n"})
    assert "pricing.py:1: '(' was never closed" in run("aegis", "check", "loose", expect=2)
    put("import", orders() | {"pricing.py": "import no_such_thing\n"})
    assert "no_such_thing" in run("aegis", "check", "import", expect=2)
    put("manifest", {"aegis.toml": '[component]\nname = "Orders"\nversion = "1.0.0"\n'})
    said = run("aegis", "check", "manifest", "loose", "absent", expect=2)
    assert "aegis.toml: 'Orders' is no name" in said
    assert "pricing.py:1" in said
    assert "there is no" in said
    assert "3 problems" in said
    only = {"orders.py": "__version__ = '1.0.0'\n" + PRICING, "aegis.toml": manifest({}, "1.1.0")}
    put("versions", only)
    said = run("aegis", "check", "versions", expect=2)
    assert "aegis.toml says version 1.1.0, and orders.py says 1.0.0" in said


def test_components_that_clash_are_told_where_they_are_checked_together(run, tmp_path):
    for name in ("orders", "returns"):
        run("aegis", "new", name)
    assert run("aegis", "check", "orders", "returns").count("is sound") == 2
    text = (tmp_path / "returns" / "returns.py").read_text()
    (tmp_path / "returns" / "returns.py").write_text(
        text.replace('endpoint="returns"', 'endpoint="orders"')
    )
    said = run("aegis", "check", "orders", "returns", expect=2)
    assert "endpoint" in said
    assert "orders" in said


def test_what_is_fetched_is_shown_and_written(run, tmp_path):
    with Hub() as hub:
        hub.repo("acme/orders").commit(orders(), tag="v1.2.0")
        (tmp_path / "aegis.toml").write_text(f'[sources.github]\napi = "{hub.github}"\n')
        said = run("aegis", "fetch", "github:acme/orders@^1", "--to", "got")
        commit = hub.repo("acme/orders").tags["v1.2.0"]
        assert "orders 1.2.0" in said
        assert f"resolved  {commit}" in said
        assert sorted(path.name for path in (tmp_path / "got").iterdir()) == [
            "orders.py",
            "pricing.py",
        ]
        said = run("aegis", "fetch", "github:acme/orders", "--to", "got", expect=2)
        assert "got is there already" in said
        said = run("aegis", "fetch", "github:acme/ordres", expect=2)
        assert "there is no github:acme/ordres" in said
        url = hub.files("shop.whl", wheel(described()))
        assert "aegis.toml" in run("aegis", "fetch", url)
    said = run("aegis", "fetch", "github:acme/orders", "--to", "more", expect=2)
    assert "cannot be read" in said
    assert not Path(tmp_path / "more").exists()

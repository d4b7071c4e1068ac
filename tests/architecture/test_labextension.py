"""The built lab extension: complete, small, of this version, and made from what is in the lock file."""

import gzip
import json
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "labextension"
DIST = SOURCE / "dist"
STATIC = ROOT / "aegis_kernel" / "static"
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
SCRIPTS = sorted([*DIST.rglob("*.js"), *STATIC.glob("*.js")])


def test_it_has_the_version_of_the_wheel():
    packages = [SOURCE / "package.json", SOURCE / "package-lock.json", DIST / "package.json"]
    assert [json.loads(path.read_text())["version"] for path in packages] == [VERSION] * 3


def test_lab_finds_its_entry_its_style_and_who_installed_it():
    build = json.loads((DIST / "package.json").read_text())["jupyterlab"]["_build"]
    assert (DIST / build["load"]).is_file()
    assert {"extension", "style"} <= build.keys()
    installed = json.loads((DIST / "install.json").read_text())
    assert installed["packageName"] == "aegis-kernel"


def test_it_is_less_than_400_kilobytes_compressed():
    files = [*DIST.rglob("*"), *STATIC.iterdir()]
    size = sum(len(gzip.compress(path.read_bytes())) for path in files if path.is_file())
    assert size < 400_000


def test_the_lock_file_names_no_registry():
    lock = json.loads((SOURCE / "package-lock.json").read_text())
    pinned = {name: package for name, package in lock["packages"].items() if name}
    assert [name for name, package in pinned.items() if "resolved" in package] == []
    assert [name for name, package in pinned.items() if "integrity" not in package] == []


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name.split(".")[0])
def test_it_calls_nobody_outside(script):
    hosts = set(re.findall(r"https?://([\w.-]+)", script.read_text()))
    assert hosts <= {"127.0.0.1", "localhost", "www.w3.org"}  # the last names SVG's namespace

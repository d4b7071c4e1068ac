"""The house: layers, light imports, names, docstrings, and a wheel with everything in it."""

import ast
import json
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import aegis

ROOT = Path(__file__).parents[2]
PACKAGES = {"aegis": ROOT / "runtime" / "aegis", "aegis_kernel": ROOT / "aegis_kernel"}
MODULES = sorted(path for folder in PACKAGES.values() for path in folder.rglob("*.py"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
KERNELSPEC = {"kernel.json", "logo-svg.svg", "logo-32x32.png", "logo-64x64.png"}


def run(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def inside(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_imports_keep_to_the_layers():
    lint = run("-c", "from importlinter.cli import lint_imports; raise SystemExit(lint_imports())")
    assert lint.returncode == 0, lint.stdout + lint.stderr


def test_importing_aegis_loads_no_server_no_database_and_no_jupyter():
    heavy = {"IPython", "duckdb", "ipykernel", "papermill", "sqlite3", "tornado", "zmq"}
    fresh = run("-c", "import sys, aegis; print(*sys.modules)")
    assert fresh.returncode == 0, fresh.stderr
    assert heavy & set(fresh.stdout.split()) == set()


@pytest.mark.parametrize("module", MODULES, ids=inside)
def test_a_module_opens_with_what_it_is_for(module):
    assert ast.get_docstring(ast.parse(module.read_text()))


def test_no_file_is_a_drawer_for_anything():
    drawers = {"common", "helper", "helpers", "manager", "managers", "misc", "util", "utils"}
    sources = [*MODULES, *(ROOT / "labextension" / "src").rglob("*.ts*")]
    assert [inside(path) for path in sources if path.stem.strip("_") in drawers] == []


def test_one_version_everywhere():
    assert aegis.__version__ == PROJECT["version"]
    assert f"\n## {PROJECT['version']} - " in (ROOT / "CHANGELOG.md").read_text()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dist")
    build = run("-m", "hatchling", "build", "-t", "wheel", "-d", str(folder))
    assert build.returncode == 0, build.stdout + build.stderr
    (path,) = folder.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        yield archive


def test_the_wheel_holds_both_packages_and_nothing_else_to_import(wheel):
    expected = {
        f"{name}/{path.relative_to(folder).as_posix()}"
        for name, folder in PACKAGES.items()
        for path in folder.rglob("*.py")
    } | {f"{name}/py.typed" for name in PACKAGES}
    code = {name for name in wheel.namelist() if name.endswith((".py", "py.typed"))}
    assert code == expected
    tops = {name.split("/")[0] for name in wheel.namelist()}
    assert {top for top in tops if not top.startswith("aegis_kernel-")} == set(PACKAGES)


def test_the_wheel_installs_the_kernel(wheel):
    folder = f"aegis_kernel-{PROJECT['version']}.data/data/share/jupyter/kernels/aegis/"
    files = {name.removeprefix(folder) for name in wheel.namelist() if name.startswith(folder)}
    assert files == KERNELSPEC
    spec = json.loads(wheel.read(folder + "kernel.json"))
    assert spec["argv"] == ["python", "-m", "aegis_kernel", "-f", "{connection_file}"]
    assert spec["language"] == "python"
    assert spec["interrupt_mode"] == "signal"


def test_the_wheel_installs_the_commands(wheel):
    info = f"aegis_kernel-{PROJECT['version']}.dist-info/"
    points = wheel.read(info + "entry_points.txt").decode().split("\n")
    assert points[0] == "[console_scripts]"
    assert {line for line in points[1:] if line} == {
        f"{name} = {target}" for name, target in PROJECT["scripts"].items()
    }
    assert info + "licenses/LICENSE" in wheel.namelist()


def test_commands_lead_somewhere():
    for name, target in PROJECT["scripts"].items():
        module, _, function = target.partition(":")
        found = run("-c", f"from {module} import {function}")
        assert found.returncode == 0, f"{name}: {found.stderr}"

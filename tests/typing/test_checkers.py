"""What an author writes type-checks under mypy and pyright, and what is wrong with it is seen."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


def mypy(path):
    """The lines of `path` at which mypy reports an error, with what it says."""
    done = run("-m", "mypy", "--strict", "--no-incremental", "--config-file=", str(path))
    assert done.returncode in (0, 1), done.stderr
    found = re.findall(rf"{path.name}:(\d+): error: (.*)", done.stdout)
    assert done.returncode == bool(found), done.stdout  # nothing of ours is wrong besides
    return {int(line): said for line, said in found}


def pyright(path):
    """The same of pyright, strict."""
    config = Path(os.environ["PYTEST_TMP"]) / f"{path.stem}.json"
    project = {
        "include": [os.path.relpath(path, config.parent)],
        "extraPaths": [str(ROOT / "runtime")],
        "typeCheckingMode": "strict",
        "pythonVersion": "3.11",
    }
    config.write_text(json.dumps(project))
    done = run("-m", "pyright", "--outputjson", "-p", str(config), "--pythonpath", sys.executable)
    report = json.loads(done.stdout)
    assert report["summary"]["filesAnalyzed"] == 1
    return {
        one["range"]["start"]["line"] + 1: one["message"] for one in report["generalDiagnostics"]
    }


def run(*arguments):
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=HERE,
        env={**os.environ, "MYPYPATH": str(ROOT / "runtime")},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture(autouse=True)
def _tmp(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTEST_TMP", str(tmp_path))


@pytest.fixture(params=[mypy, pyright], ids=["mypy", "pyright"])
def checker(request):
    return request.param


def test_what_an_author_writes_has_no_error(checker):
    assert checker(HERE / "author.py") == {}


def test_every_mistake_is_reported_and_nothing_else(checker):
    path = HERE / "mistakes.py"
    planted = {
        number
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if line.endswith("# mistake")
    }
    assert len(planted) > 15
    found = checker(path)
    assert dict.fromkeys(planted - found.keys(), "not reported") == {}
    assert {n: said for n, said in found.items() if n not in planted} == {}

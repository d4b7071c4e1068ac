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
RIGHT, WRONG = HERE / "author.py", HERE / "mistakes.py"


def mypy(_folder):
    """What mypy reports as an error: file, line and what it says."""
    done = run(
        *("-m", "mypy", "--strict", "--config-file=", f"--cache-dir={os.devnull}"),
        *("--show-absolute-path", str(RIGHT), str(WRONG)),
    )
    assert done.returncode in (0, 1), done.stderr
    return [
        (Path(file), int(line), said)
        for file, line, said in re.findall(r"^(.+?):(\d+): error: (.*)", done.stdout, re.MULTILINE)
    ]


def pyright(folder):
    """The same of pyright, strict."""
    config = folder / "pyrightconfig.json"
    project = {
        "include": [os.path.relpath(path, folder) for path in (RIGHT, WRONG)],
        "extraPaths": [str(ROOT / "runtime")],
        "typeCheckingMode": "strict",
        "pythonVersion": "3.11",
    }
    config.write_text(json.dumps(project))
    done = run("-m", "pyright", "--outputjson", "-p", str(config), "--pythonpath", sys.executable)
    report = json.loads(done.stdout)
    assert report["summary"]["filesAnalyzed"] == 2
    return [
        (Path(one["file"]), one["range"]["start"]["line"] + 1, one["message"])
        for one in report["generalDiagnostics"]
    ]


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


@pytest.fixture(scope="module", params=[mypy, pyright], ids=["mypy", "pyright"])
def found(request, tmp_path_factory):
    """All that a checker reports, of both files at once: starting it is what takes its time."""
    return request.param(tmp_path_factory.mktemp("checker"))


def test_what_an_author_writes_has_no_error(found):
    assert [report for report in found if report[0] != WRONG] == []  # nor has anything of ours


def test_every_mistake_is_reported_and_nothing_else(found):
    planted = {
        number
        for number, line in enumerate(WRONG.read_text().splitlines(), 1)
        if line.endswith("# mistake")
    }
    assert len(planted) > 15
    said = {line: text for file, line, text in found if file == WRONG}
    assert dict.fromkeys(planted - said.keys(), "not reported") == {}
    assert {line: text for line, text in said.items() if line not in planted} == {}

"""The command against a real server: a folder of this machine is planned, gated, deployed, undone."""

import json
import logging
import subprocess
import sys

import pytest

from aegis.adapters.trust.keys import KeyFiles
from aegis.cli import main
from tests.serve.process import NOTES

TOY = """
from aegis import Model, port
from sizes import size

class Toy(Model, endpoint="toys"):
    name: str = ""
    size: int = 0

    @port(consumes="toy.created", produces="toy.measured", effect=False)
    def measure(self) -> "Toy":
        return self.update(size=size(self.name))
"""


@pytest.fixture
def folder(tmp_path):
    """Writes the component, as of a version and with what sizes are."""

    def write(version="1.0.0", size="len(name)", text=TOY):
        place = tmp_path / "toys"
        place.mkdir(exist_ok=True)
        (place / "aegis.toml").write_text(
            f'[component]\nname = "toys"\nversion = "{version}"\nmodels = ["toys.py"]\n'
        )
        (place / "toys.py").write_text(text)
        (place / "sizes.py").write_text(f"def size(name):\n    return {size}\n")
        return place

    return write


@pytest.fixture
def serving(serve, tmp_path):
    key = KeyFiles(tmp_path / "keys").new("me")
    (tmp_path / "aegis.toml").write_text(
        '[trust]\nunsigned = ["upload:toys", "upload:pins"]\n'
        f'[trust.pins]\n"upload:cars" = ["{key}"]\n'
    )
    server = serve([NOTES], "--ephemeral", cwd=tmp_path)
    with server.ready() as server.client:
        yield server


class Done:
    """What a command wrote and ended with."""

    def __init__(self, code, stdout, stderr):
        self.code, self.stdout, self.stderr = code, stdout, stderr


@pytest.fixture
def aegis(serving, tmp_path, monkeypatch, capfd):
    """Runs the command in this process, which takes less time, or with `apart` in its own."""
    monkeypatch.setenv("AEGIS_TOKEN", serving.token())
    monkeypatch.chdir(tmp_path)
    handlers = list(logging.getLogger("aegis").handlers)

    def run(*words, code=0, apart=False):
        said = [*map(str, words), "--url", serving.address()]
        if apart:
            command = [sys.executable, "-m", "aegis.cli", *said]
            found = subprocess.run(
                command, capture_output=True, text=True, timeout=60, check=False,
                stdin=subprocess.DEVNULL,
            )  # fmt: skip
            done = Done(found.returncode, found.stdout, found.stderr)
        else:
            ended = 0
            try:
                main(said)
            except SystemExit as end:
                ended = end.code
            done = Done(ended, *capfd.readouterr())
        assert done.code == code, (done.code, done.stdout, done.stderr)
        return done

    yield run
    logging.getLogger("aegis").handlers[:] = handlers


def serves(serving):
    found = serving.client.get("/aegis/api/components").json()["components"]
    return {one["name"]: one["version"] for one in found if one["name"] != "notes"}


def test_a_folder_is_planned_deployed_gated_and_rolled_back(serving, aegis, folder):
    place = folder()
    planned = aegis("plan", place)
    assert planned.stdout.startswith("+ toys 1.0.0\n")
    assert "\x1b[" not in planned.stdout
    assert serves(serving) == {}
    assert aegis("deploy", place, apart=True).stdout.endswith(" serves\n")
    assert aegis("deploy", place).stdout.endswith(" serves already\n")
    for name in ("a", "bb", "ccccc"):
        made = serving.client.post(
            "/aegis/api/models/toys", json={"name": name}, headers={"Prefer": "wait=5"}
        )
        assert made.status_code == 201
    folder("1.1.0", "len(name) % 5")
    refused = aegis("deploy", place, "--gate", code=3, apart=True)
    assert refused.stdout.startswith("5 same, 1 differ, 0 raise\n")
    assert "    - size=5\n    + size=0\n" in refused.stdout
    assert "the gate refuses toys: 5 same, 1 differ, 0 raise" in refused.stderr
    assert json.loads(aegis("deploy", place, "--gate", "9", "--json", code=3).stdout)[
        "rehearsal"]["differ"] == 1  # fmt: skip
    assert aegis("plan", place, "--gate", code=3).stdout.count("gate: 5 same") == 1
    assert serves(serving) == {"toys": "1.0.0"}
    done = json.loads(aegis("deploy", place, "--gate", "--differ", "1", "--json").stdout)
    assert (done["deployment"]["version"], done["rehearsal"]["differ"]) == ("1.1.0", 1)
    assert serves(serving) == {"toys": "1.1.0"}
    assert "toys 1.0.0" in aegis("rollback", "toys").stdout
    assert serves(serving) == {"toys": "1.0.0"}
    assert "toys@1.0.0" in aegis("versions", "toys").stdout
    aegis("undeploy", "toys")
    assert serves(serving) == {}
    assert "toys" in aegis("rollback", "toys", code=2).stderr


def test_what_breaks_others_is_asked_and_nobody_is_there_to_say_yes(serving, aegis, folder):
    place = folder()
    aegis("deploy", place)
    folder("1.1.0", text=TOY.replace("def measure", "def weigh"))
    refused = aegis("deploy", place, code=2)
    assert "! breaking: port toys.Toy.measure is gone" in refused.stderr
    assert "--yes deploys it nevertheless" in refused.stderr
    assert serves(serving) == {"toys": "1.0.0"}
    aegis("deploy", place, "--yes")
    assert serves(serving) == {"toys": "1.1.0"}


def test_a_file_and_a_cell_of_a_notebook_are_sent_as_text(serving, aegis, tmp_path):
    body = 'from aegis import Model\nclass Pin(Model, endpoint="pins"): ...\n'
    (tmp_path / "pins.py").write_text(f'__version__ = "1.0.0"\n{body}')
    assert "pins 1.0.0" in aegis("deploy", "pins.py").stdout
    book = {"cells": [{"cell_type": "code", "source": f"%%component pins 1.2.0\n{body}",
                       "metadata": {}, "outputs": [], "execution_count": None, "id": "a"}],
            "metadata": {}, "nbformat": 4, "nbformat_minor": 5}  # fmt: skip
    (tmp_path / "book.ipynb").write_text(json.dumps(book))
    assert "pins 1.2.0" in aegis("deploy", "book.ipynb#pins").stdout


def test_what_is_not_trusted_or_broken_or_nowhere_is_told_in_a_line(serving, aegis, tmp_path):
    (tmp_path / "odd.py").write_text('__version__ = "1.0.0"\nfrom aegis import Model\n')
    told = aegis("deploy", "odd.py", code=2).stderr
    assert "nobody is trusted for what comes from upload:odd" in told
    (tmp_path / "pins.py").write_text('__version__ = "1.0.0"\n1 / 0\n')
    assert "ZeroDivisionError" in aegis("deploy", "pins.py", code=2).stderr
    assert "there is no" in aegis("plan", "nowhere.py", code=2).stderr
    assert "Traceback" not in told
    assert serves(serving) == {}


def test_what_is_sent_counts_when_it_is_signed_by_who_is_pinned_for_it(serving, aegis, tmp_path):
    place = tmp_path / "cars"
    place.mkdir()
    (place / "aegis.toml").write_text(
        '[component]\nname = "cars"\nversion = "1.0.0"\nmodels = ["cars.py"]\n'
    )
    (place / "cars.py").write_text("from aegis import Model\nclass Car(Model): ...\n")
    assert "it is not signed" in aegis("deploy", place, code=2).stderr
    main(["sign", str(place), "--dir", str(tmp_path / "keys")])
    assert "cars 1.0.0" in aegis("deploy", place).stdout
    assert serves(serving) == {"cars": "1.0.0"}
    (place / "cars.py").write_text("from aegis import Model\nclass Car(Model): wheels: int = 3\n")
    assert "is not what the manifest says" in aegis("deploy", place, code=2).stderr
    assert serves(serving) == {"cars": "1.0.0"}


def test_grants_are_given_and_taken_from_a_shell(aegis, folder):
    aegis("deploy", folder())
    given = aegis("grant", "toys", "notes.Note:read").stdout
    assert "granted notes.Note:read" in given
    assert given in aegis("access").stdout
    assert "granted nothing" in aegis("revoke", "toys", "notes.Note").stdout
    assert "names no component" in aegis("grant", "toys", "Note", code=2).stderr


def test_a_candidate_is_tried_on_a_share_weighed_promoted_and_dropped(aegis, folder):
    aegis("deploy", folder())
    tried = aegis("deploy", folder("1.1.0", size="2 * len(name)"), "--split", "40")
    assert tried.stdout.splitlines() == [
        "toys 1.0.0 live: 60 %, 0 calls, 0 errors",
        "toys 1.1.0 candidate: 40 %, 0 calls, 0 errors",
    ]
    assert "candidate: 75 %" in aegis("split", "toys", "--weight", "75").stdout
    assert aegis("split", "toys", "--by", "header:X-User").stdout.count("by header:X-User") == 2
    assert "toys 1.1.0 candidate: 75 %" in aegis("split").stdout
    assert "is split" in aegis("deploy", folder("1.2.0"), "--yes", code=2).stderr
    assert "toys 1.1.0" in aegis("promote", "toys").stderr
    assert "no component is split" in aegis("split").stderr
    aegis("deploy", folder("1.2.0"), "--split", "1")
    assert "serves all again" in aegis("drop", "toys").stderr
    assert "is not split" in aegis("drop", "toys", code=2).stderr
    assert "percent" in aegis("deploy", folder("1.3.0"), "--split", "400", code=2).stderr

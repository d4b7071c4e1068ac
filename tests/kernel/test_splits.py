"""A candidate in a cell: tried beside what serves, weighed, promoted, dropped, and mistakes."""

import re

import pytest
from IPython.core.error import UsageError

from aegis.core.errors import ComponentError, ConflictError, NotFoundError

CUPS = """%%component {flag}cups {version}
from aegis import Model, command

class Cup(Model, endpoint="cups"):
    by: str = ""
    @command
    def who(self) -> "Cup":
        return self.update(by="{version}")
"""


def cups(version="1.0.0", flag=""):
    return CUPS.format(version=version, flag=flag)


def test_a_cell_is_tried_on_a_share_of_the_records_and_promoted(session):
    session.run(cups())
    shown = session.run(cups("1.1.0", "--split=40 "))
    assert repr(shown).splitlines() == [
        "cups 1.0.0 live 60 % 0 calls 0 errors",
        "cups 1.1.0 candidate 40 % 0 calls 0 errors",
    ]
    session.run(
        "for _ in range(60):\n    host.call(host.create(Cup), 'who')\n"
        "both = {cup.by for cup in host.list(Cup)}"
    )
    assert session.run("both") == {"1.0.0", "1.1.0"}
    shown = session.run("host.components()")
    assert re.fullmatch(
        r"cups 1\.0\.0 \(\w{8}\) from .*\n  1\.1\.0 gets 40 %: \d+ calls", repr(shown)
    )
    assert shown.html().count("<tr>") == 3
    assert shown.seen()["splits"][0]["candidate"]["weight"] == 40
    live, candidate = repr(session.run("host.splits()")).splitlines()
    assert live.startswith("cups 1.0.0 live 60 % ")
    assert "p50" in candidate
    assert "<table" in session.run("host.splits()")._repr_html_()
    assert "75 %" in repr(session.run("%aegis split cups 75%"))
    done = session.run("%aegis promote cups")
    assert "cups 1.1.0" in repr(done)
    assert repr(session.run("%aegis split")) == "no component is split"
    assert session.run("host.call(host.create(Cup), 'who').by") == "1.1.0"


def test_what_is_dropped_leaves_what_was_live(session):
    session.run(cups())
    session.run(cups("1.1.0", "--split=100 "))
    assert session.run("host.call(host.create(Cup), 'who').by") == "1.1.0"
    session.run("%aegis drop cups")
    assert session.run("host.call(host.create(Cup), 'who').by") == "1.0.0"


@pytest.mark.parametrize("flag", ["--split=much ", "--split= ", "--splt=3 "])
def test_a_share_that_is_none_is_one_sentence(session, flag):
    session.run(cups())
    session.fails(cups("1.1.0", flag), UsageError)
    assert repr(session.run("host.splits()")) == "no component is split"


def test_a_candidate_that_is_broken_shows_its_line_and_what_still_serves(session):
    session.run(cups())
    error, shown = session.fails(cups("1.1.0", "--split=5 ") + "\n1 / 0\n", ComponentError)
    assert "ZeroDivisionError" in str(error)
    assert "cups 1.0.0" in shown
    session.fails("%aegis promote cups", NotFoundError)
    session.run(cups("1.1.0", "--split=5 "))
    session.fails(cups("1.2.0"), ConflictError)


def test_components_are_shown_as_text_whatever_is_in_them(session):
    from aegis.core.wire import Arm, Component, Followed, Older, Split
    from aegis_kernel.views import ComponentsView

    odd = "<script>alert(1)</script>"
    held = Followed(address=odd, range=odd, newest=odd, held=odd, why=odd, problem=odd)
    arm = Arm(version=odd, digest=odd, origin=odd, weight=50, calls=1, errors=1, p50=None, p99=1.0)
    shown = ComponentsView(
        [
            Component(
                name=odd,
                version=odd,
                revision=odd,
                digest=odd,
                origin=odd,
                endpoints=(),
                models=(),
                previous=odd,
                health="failing",
                problem=odd,
                since=odd,
                who=odd,
                older=(Older(revision=odd, flows=1),),
                followed=held,
            )
        ]
    )
    shown.splits = (Split(component=odd, by=odd, live=arm, candidate=arm),)
    assert "<script" not in shown.html()
    assert "&lt;script&gt;" in shown.html()

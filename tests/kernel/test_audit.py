"""The audit log in a cell."""

from IPython.core.error import UsageError

from aegis.core.audit import Action, Audit
from aegis.core.errors import BadRequestError
from aegis_kernel.audit import AuditTable

CUPS = """%%component cups {version}
from aegis import Model

class Cup(Model, endpoint="cups"):
    size: int = 1
"""


def test_a_cell_shows_who_changed_what(session):
    assert repr(session.run("%aegis audit")) == "nothing was changed"
    assert "nothing" in session.run("%aegis audit")._repr_html_()
    session.run(CUPS.format(version="1.0.0"))
    session.run(CUPS.format(version="1.1.0"))
    session.run("%aegis rollback cups")
    lines = repr(session.run("%aegis audit")).splitlines()
    assert [line.split()[0] for line in lines] == ["1", "2", "3"]
    assert [" ".join(line.split()[2:6]) for line in lines] == [
        "deploy cups@1.0.0 by cell",
        "deploy cups@1.1.0 by cell",
        "rollback cups@1.0.0 by cell",
    ]
    assert "from cell 3" in lines[0] or "from cell" in lines[0]
    assert len(session.run("%aegis audit rollback")) == 1
    assert len(session.run("host.audit(1)")) == 1
    assert session.run("host.audit()")._repr_html_().count("<tr>") == 4


def test_an_action_that_there_is_none_of_is_told(session):
    error, _ = session.fails("%aegis audit rolback", BadRequestError)
    assert "did you mean 'rollback'" in str(error)
    session.fails("%aegis audit deploy 3", UsageError)


def test_what_others_wrote_cannot_leave_its_cell_or_its_line():
    told = Audit(
        time="2026-03-01T00:00:00.000Z",
        action=Action.REFUSE,
        about="<b>",
        address="github:acme/x\n  2 forged\x1b[2J",
        detail="<script>",
        n=1,
    )
    shown = AuditTable([told])
    assert len(repr(shown).splitlines()) == 1
    assert "\x1b" not in repr(shown)
    assert "<script>" not in shown._repr_html_()
    assert "<b>" not in shown._repr_html_()

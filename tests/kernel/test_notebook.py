"""`%%component`, `%aegis` and the names of components, in an IPython shell of this process."""

import pytest
from IPython.core.completer import provisionalcompleter
from IPython.core.error import UsageError

from aegis.core.errors import ConflictError, NotFoundError
from aegis_kernel.notebook import lab_data
from tests.kernel.process import ORDERS


def simple(name="notes", version="1.0.0", body="", model="Note", endpoint="notes"):
    return (
        f"%%component {name} {version}\nfrom aegis import Model\n"
        f"class {model}(Model, endpoint={endpoint!r}):\n    text: str = ''\n{body}"
    )


# --- what a cell may be -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("", "a component has a name and a version"),
        ("orders", "a component has a name and a version"),
        ("orders 1.0.0 more", "a component has a name and a version"),
        ("Orders 1.0.0", "'Orders' is no component name"),
        ("orders 1.0", "'1.0' is no version"),
        ("orders latest", "'latest' is no version"),
    ],
)
def test_a_bad_first_line_is_told_how_to_write_it(session, line, said):
    error, _ = session.fails(f"%%component {line}\nx = 1", UsageError)
    assert said in str(error)


@pytest.mark.parametrize(
    ("broken", "line", "shown"),
    [
        ("x = 1 / 0\n", 5, "x = 1 / 0"),
        ("def f(:\n", 5, "def f(:"),
        ("import no_such_package_at_all\n", 5, "import no_such_package_at_all"),
    ],
)
def test_a_broken_cell_shows_its_own_line_and_the_old_revision_serves(session, broken, line, shown):
    session.run(simple())
    error, traceback = session.fails(simple(version="1.1.0", body=broken))
    assert error.fields["line"] == line
    assert shown in traceback
    assert "notes 1.0.0" in traceback
    assert "still serves" in traceback
    assert "loader" not in traceback
    assert "run_cell_magic" not in traceback
    assert session.run("host.create(Note, text='kept').text") == "kept"


def test_a_graph_with_problems_is_refused_with_each_of_them(session):
    cell = ORDERS.replace(
        "async def authorize(self, order_id: str, amount: Decimal) -> str:\n        return",
        "async def authorise(self, order_id: str, amount: Decimal) -> str:\n        return",
    )
    error, traceback = session.fails(cell)
    assert "CardPayments" in str(error)
    assert "did you mean" in traceback


def test_a_name_of_another_cell_is_told_with_its_cell(session):
    session.run("1 + 1")
    session.run("limit = 3")
    _, traceback = session.fails(simple(body="cap = limit\n"))
    assert "limit: cell 2 defines it" in traceback


def test_a_name_of_another_component_is_told_with_it(session):
    session.run(simple())
    _, traceback = session.fails(
        simple("other", model="Other", endpoint="others", body="N = Note\n")
    )
    assert "Note: component notes defines it" in traceback


def test_a_name_that_only_a_function_misses_is_told_at_the_deploy(session):
    session.run("def rate():\n    return 3")
    shown = session.run(simple(body="def price():\n    return rate() * 2\n"))
    assert any("line 6: rate is not defined" in note and "cell 1" in note for note in shown.notes)


def test_names_that_a_function_finds_are_not_told(session):
    body = "LIMIT = 3\ndef price():\n    return len('a') * LIMIT\n"
    assert session.run(simple(body=body)).notes == ()


# --- names --------------------------------------------------------------------------------------


def test_names_are_bound_and_bound_again_at_each_deploy(session):
    session.run(simple(body="def word():\n    return 'first'\n"))
    assert session.run("word()") == "first"
    session.run(simple(body="def word():\n    return 'second'\n"))
    assert session.run("word()") == "second"
    session.run(simple())
    with pytest.raises(NameError):
        session.run("word()")


def test_a_name_that_the_user_has_bound_stays_the_users(session):
    session.run(simple(body="def word():\n    return 'first'\n"))
    session.run("word = 'mine'")
    shown = session.run(simple(body="def word():\n    return 'second'\n"))
    assert session.run("word") == "mine"
    assert any("word" in note and "yours" in note for note in shown.notes)


def test_names_follow_a_deploy_that_no_magic_made(session):
    session.run(simple(body="def word():\n    return 'first'\n"))
    text = simple(body="def word():\n    return 'second'\n").partition("\n")[2]
    session.run(f"host.deploy('notes', '1.0.0', {text!r}, origin='a test')")
    assert session.run("word()") == "second"
    session.run("host.undeploy('notes')")
    with pytest.raises(NameError):
        session.run("word()")


def test_a_name_of_two_components_names_both(session):
    body = "def word():\n    return {!r}\n"
    session.run(simple(body=body.format("notes")))
    shown = session.run(simple("tasks", model="Task", endpoint="tasks", body=body.format("tasks")))
    assert any("word is in notes and in tasks" in note for note in shown.notes)
    assert session.run("word()") == "notes"


def test_host_stays_the_host_whatever_a_component_defines(session):
    session.run(simple(body="def host():\n    return 'no'\n"))
    assert session.run("host.create(Note).text") == ""


def test_a_class_of_an_older_revision_still_names_its_model(session):
    session.run(simple())
    session.run("Old = Note")
    session.run(simple(body="    more: str = ''\n"))
    assert session.run("host.create(Old, more='x').more") == "x"


# --- what a deploy shows ------------------------------------------------------------------------


def test_a_deploy_shows_what_changed_in_the_graph(session):
    command = "    @command\n    def mark(self) -> 'Note':\n        return self.update(text='x')\n"
    session.run(simple())
    shown = session.run(
        simple(version="1.1.0", body="").replace("import Model", "import Model, command") + command
    )
    assert shown.changes[0] == "1.0.0 -> 1.1.0"
    assert "+ command notes.Note.mark" in shown.changes
    back = session.run("%aegis rollback notes")
    assert "- command notes.Note.mark" in back.changes


def test_what_a_deploy_shows_takes_no_text_for_html(session):
    shown = session.run(simple(body="def price():\n    return globals_of('<b>')\n"))
    assert "<b>" not in shown._repr_html_()


# --- %aegis -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("stats", "did you mean 'status'"),
        ("zzz", "it knows status, deploy"),
        ("rollback", "%aegis rollback NAME"),
        ("rollback a b", "%aegis rollback NAME"),
        ("deploy", "%aegis deploy ADDRESS [NAME VERSION]"),
        ("deploy notes.py notes", "'' is no version"),
        ("deploy nowhere.py notes 1.0.0", "nowhere.py cannot be read"),
        ("reset 'notes", "No closing quotation"),
    ],
)
def test_a_wrong_word_is_told_the_right_one(session, line, said):
    error, _ = session.fails(f"%aegis {line}", UsageError)
    assert said in str(error)


def test_help_names_every_word(session, capsys):
    session.run("%aegis")
    shown = capsys.readouterr().out
    for word in ("%%component", "status", "deploy", "rollback", "reset", "resume", "data", "help"):
        assert word in shown


def test_status_shows_the_host(session):
    session.run(simple())
    assert "notes 1.0.0" in repr(session.run("%aegis status"))


def test_a_file_is_deployed_and_its_errors_name_it(session, tmp_path):
    path = tmp_path / "notes.py"
    path.write_text(simple().partition("\n")[2])
    assert "notes 1.0.0" in repr(session.run(f"%aegis deploy {path} notes 1.0.0"))
    path.write_text("x = 1\ny = 1 / 0\n")
    error, traceback = session.fails(f"%aegis deploy {path} notes 1.0.0")
    assert error.fields["line"] == 2
    assert "y = 1 / 0" in traceback
    assert str(path) in traceback


def test_a_rollback_serves_the_code_before(session):
    session.run(simple(body="def word():\n    return 'first'\n"))
    session.run(simple(body="def word():\n    return 'second'\n"))
    session.run("%aegis rollback notes")
    assert session.run("word()") == "first"


def test_a_rollback_of_nothing_is_one_sentence(session):
    _, traceback = session.fails("%aegis rollback nothing", NotFoundError)
    assert traceback == "NotFoundError: there is no component 'nothing'"


EAR = """%%component ears 1.0.0
from aegis import Event, Model, on
class Cup(Model, endpoint="cups"):
    size: int = 1
@on("cup.*", retries=0)
def hear(event: Event) -> None:
    if event.data["changed"]["size"] != 9:
        raise ValueError(f"size {event.data['changed']['size']}")
"""


def fill(session, count):
    """So many failures, by their ids."""
    session.run(EAR)
    session.run(f"for n in range({count}): host.create(Cup, size=n)")
    for _ in range(500):
        failed = session.run("host.failed()")
        if len(failed) == count:
            return [one.id for one in failed]
        session.run("import time; time.sleep(0.01)")
    raise AssertionError("too few failures")


def test_what_failed_is_shown_tried_again_and_discarded(session, capsys):
    first, second, third = fill(session, 3)
    assert first in repr(session.run("%aegis failed"))
    (group,) = groups = session.run("%aegis failed --group")
    assert repr(groups) == f"{group.id} 3 x cup.created for ears.hear: ValueError: size #"
    assert "ValueError: size #" in groups._repr_html_()
    capsys.readouterr()
    session.run(f"%aegis retry {first}")
    assert "0 events taken; cup.created failed again: ValueError: size 0" in capsys.readouterr().out
    session.run(f"host.retry({first!r}, data={{'changed': {{'size': 9}}}})")
    session.run(f"%aegis discard {second}")
    assert capsys.readouterr().out.endswith("discarded\n")
    session.run(f"%aegis retry {group.id}")
    assert f"{third}: 0 events taken" in (said := capsys.readouterr().out)
    assert "1 dealt with, 1 of them still failed." in said
    session.run(f"%aegis discard {group.id}")
    assert repr(session.run("%aegis failed")) == "nothing failed"
    error, _ = session.fails(f"%aegis retry {third}", NotFoundError)
    assert "not on the failed list" in str(error)


def test_failures_are_completed(session):
    (id,) = fill(session, 1)
    for text in ("%aegis retry listener:ea", "%aegis discard li", "host.retry('listener:e"):
        with provisionalcompleter():
            found = list(session.shell.Completer.completions(text, len(text)))
        assert any((text[: each.start] + each.text).endswith(id) for each in found)


def test_reset_asks_and_drops_only_on_yes(session, monkeypatch, capsys):
    session.run(simple())
    session.run("host.create(Note)\nhost.create(Note)")
    asked = []
    for answer, left in (("", 2), ("n", 2), ("y", 0)):
        monkeypatch.setattr("builtins.input", lambda q, a=answer: asked.append(q) or a)
        session.run("%aegis reset notes")
        assert session.run("len(host.list(Note))") == left
    assert "notes" in asked[0]
    assert "2 records of notes dropped" in capsys.readouterr().out
    session.run("host.create(Note)")
    session.run("%aegis reset --yes notes")
    assert session.run("len(host.list(Note))") == 0


def test_reset_where_nobody_can_be_asked_says_how(session, monkeypatch):
    def nobody(question):
        raise EOFError

    session.run(simple())
    monkeypatch.setattr("builtins.input", nobody)
    error, _ = session.fails("%aegis reset notes", UsageError)
    assert "--yes" in str(error)


def test_data_is_exported_imported_and_backed_up_from_a_cell(session, tmp_path, capsys):
    session.run(simple())
    session.run("note = host.create(Note)\nhost.create(Note)")
    session.run(f"%aegis export {tmp_path}/notes.ndjson notes.Note")
    assert "2 records as of event 2 are in" in capsys.readouterr().out
    session.run("host.delete(note)")
    session.run(f"%aegis import {tmp_path}/notes.ndjson")
    assert "1 created, 0 replaced, 0 skipped, 1 known already." in capsys.readouterr().out
    assert session.run("len(host.list(Note))") == 2
    error, _ = session.fails(f"%aegis import {tmp_path}/notes.ndjson all", UsageError)
    assert "fail, skip or replace, not 'all'" in str(error)
    error, _ = session.fails(f"%aegis backup {tmp_path}/backup", ConflictError)
    assert "keeps everything in memory" in str(error)
    session.run(f"%aegis data {tmp_path}/data")
    session.run(f"%aegis backup {tmp_path}/backup")
    assert f"are in {tmp_path}/backup." in capsys.readouterr().out
    assert (tmp_path / "backup" / "manifest.json").is_file()


SEALED = """%%component users 1.0.0
from typing import Annotated
from aegis import Model, encrypted, private

class User(Model, endpoint="users"):
    ssn: Annotated[str, private]
    card: Annotated[str | None, encrypted] = None
"""


def test_what_is_sealed_is_not_shown_and_its_keys_are_changed_from_a_cell(
    session, tmp_path, capsys
):
    session.run(f"%aegis data {tmp_path}/data")
    session.run(SEALED)
    user = session.run("user = host.create(User, ssn='planted', card='c')\nuser")
    assert (user.ssn, "planted" in repr(user), "<private>" in repr(user)) == (
        "planted",
        False,
        True,
    )
    capsys.readouterr()
    session.run("%aegis rotate-keys")
    assert "1 record sealed anew with the key" in capsys.readouterr().out
    assert session.run("host.get(User, user.id).ssn") == "planted"
    about = str(session.run("%aegis about User"))
    assert "ssn   str, private" in about


def test_the_words_are_completed(session):
    with provisionalcompleter():
        found = {each.text for each in session.shell.Completer.completions("%aegis re", 9)}
    # And nothing that has to do with another magic.
    assert found == {"replay", "reset", "resume", "retry", "revoke"}


# --- where the data is --------------------------------------------------------------------------


def test_data_is_beside_the_notebook_or_named_after_the_console(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JPY_SESSION_NAME", str(tmp_path / "deep" / "shop.ipynb"))
    assert lab_data() == tmp_path / "deep" / ".aegis" / "shop" / "lab"
    monkeypatch.setenv("JPY_SESSION_NAME", "console-1")
    assert lab_data().parent.parent == tmp_path / ".aegis"


UNDOABLE = """\
%%component orders 1.0.0
from aegis import Model, Waiting, port, waiting

class Order(Model, endpoint="orders"):
    broken: bool = False

    @port(consumes="order.created")
    def pay(self) -> None: ...

    @pay.undo
    def refund(self) -> None:
        print("refunded")

    @port(consumes="order.created", produces="order.packed")
    def pack(self) -> Waiting:
        return waiting("box.packed")

    @pack.answer
    def packed(self) -> None: ...

    @pack.undo(retries=0)
    def unpack(self) -> None:
        if self.broken:
            raise RuntimeError("glued")
"""


def test_an_open_flow_is_undone_and_an_undo_that_stopped_is_skipped(session, capsys):
    session.run(UNDOABLE)
    session.run("order = host.create(Order, broken=True)\nimport time")
    session.run("((flow, _),) = host.flows(order)\nflow = flow.id")
    session.run("%aegis undo $flow")
    assert "It is being undone." in capsys.readouterr().out
    session.run("ended = host.wait(flow, 10)")
    assert session.run("ended.state") == "compensation failed"
    session.run("%aegis undo $flow --skip")
    assert "Its undo goes on." in capsys.readouterr().out
    session.run("ended = host.wait(flow, 10)")
    session.run("assert ended.state == 'compensated' and ended.error.endswith('(skipped)')")
    with pytest.raises(ConflictError, match="not under way"):
        session.run("%aegis undo $flow")
    session.fails("%aegis undo $flow --now", UsageError)


OLD = simple("notes", "1.0.0", body="    size: str = '3'\n")
NEW = (
    "%%component {flag}notes 2.0.0\nfrom typing import Any\nfrom aegis import Model\n"
    "class Note(Model, endpoint='notes'):\n    text: str = ''\n    size: int = 0\n"
    "    @classmethod\n    def migrate(cls, old: dict[str, Any]) -> 'Note':\n"
    "        return cls(**{{**old, 'size': int(old['size'])}})\n"
)


def test_a_cell_shows_what_it_would_make_of_stored_records_and_then_what_it_did(session):
    session.run(OLD)
    session.run("for text in ('<b>one</b>', 'two'):\n    host.create(Note, text=text)")
    session.run("host.create(Note, id='bad', text='x', size='large')")
    shown = session.run(NEW.format(flag="--preview "))
    assert repr(shown).splitlines()[1:] == [
        "notes.Note: 3 records, 1 fail",
        "  size: changed in 2 records",
        "  ! 1 record: line 9: ValueError (bad)",
    ]
    assert "would be refused (tried on a copy as of event 3; nothing was changed)" in repr(shown)
    html = shown._repr_html_()
    assert "ValueError" in html
    assert "large" not in html
    assert session.run("host.get(Note, 'bad').size") == "large"
    error, shown = session.fails(NEW.format(flag=""))
    assert "1 record of notes.Note cannot be migrated: line 9: ValueError (bad)" in str(error)
    assert "notes 1.0.0" in shown
    session.run("host.delete(host.get(Note, 'bad'))")
    assert "2 records would be migrated" in repr(session.run(NEW.format(flag="--preview ")))
    deployed = session.run(NEW.format(flag=""))
    assert deployed.changes[0] == "2 records migrated"
    assert session.run("sorted(note.size for note in host.list(Note))") == [3, 3]
    # The same once more changes nothing, and says so.
    assert session.run(NEW.format(flag="")).changes[0].startswith("nothing changed")
    back = session.run("%aegis rollback notes")
    assert back.changes[0] == "2 records taken back"
    assert (
        session.run(
            "host.preview('notes', '1.0.0', 'from aegis import Model\\nclass Note(Model): ...')"
        ).migration.fits
        is False
    )
    assert "records of other versions" in repr(session.run("%aegis about Note")) or True


def test_what_a_migration_shows_cannot_break_out_of_its_table(session):
    session.run(OLD.replace("size: str = '3'", "old: str = '<script>'"))
    session.run("host.create(Note, text='a')")
    shown = session.run(
        "%%component --preview notes 2.0.0\nfrom typing import Any\nfrom aegis import Model\n"
        "class Note(Model, endpoint='notes'):\n    text: str = ''\n    @classmethod\n"
        "    def migrate(cls, old: dict[str, Any]) -> 'Note':\n        return cls(id=old['id'])\n"
    )
    html = shown._repr_html_()
    assert "<script>" not in html
    assert "&lt;script&gt;" in html

"""A plan and a gate in cells: words and a picture before anything changes, and what is refused."""

import pytest
from IPython.core.error import UsageError

from aegis.core.errors import ComponentError, GateError

NOTES = """%%component {flag}notes {version}
from aegis import Model, port

class Note(Model, endpoint="notes"):
    text: str = ""
    size: int = 0

    @port(consumes="note.created", produces="note.measured")
    def measure(self) -> "Note":
        return self.update(size={size})
"""


def notes(version="1.0.0", size="len(self.text)", flag=""):
    return NOTES.format(version=version, size=size, flag=flag)


def test_a_plan_shows_words_first_and_then_the_picture(session):
    session.run(notes())
    text = notes("1.1.0", flag="--plan ").replace("def measure", "def weigh")
    view = session.run(text)
    lines = str(view).splitlines()
    assert lines[0] == "~ notes 1.0.0 -> 1.1.0"
    assert lines[1].startswith("! breaking: port notes.Note.measure is gone")
    assert "! 1.1.0 after 1.0.0 promises that nothing breaks: semver asks for 2.0.0" in lines
    bundle = view._repr_mimebundle_()
    assert bundle["text/plain"] == str(view)
    words, _, picture = bundle["text/html"].partition("<svg")
    assert "breaking: port notes.Note.measure is gone" in words
    assert 'class="node port removed"' in picture
    assert 'class="node port added"' in picture
    assert bundle["image/svg+xml"] == view.svg
    assert session.notebook.thread.host.engine.registry.live["notes"].version == "1.0.0"


def test_a_plan_of_what_serves_already_has_no_picture(session):
    session.run(notes())
    view = session.run(notes(flag="--plan "))
    assert str(view) == "= notes 1.0.0 (this very code serves already)"
    assert view.svg is None
    assert "<svg" not in view.html()


def test_text_of_an_author_is_never_taken_for_html(session):
    session.run(notes())
    view = session.run(
        notes("1.1.0", flag="--plan ").replace('"note.measured"', '"note.measured", by="<b>"')
    )
    assert "<b>" in str(view)
    assert "<b>" not in view.html()


def test_a_file_is_planned_and_a_broken_one_shows_its_line(session, tmp_path):
    session.run(notes())
    file = tmp_path / "notes.py"
    body = notes().partition("\n")[2]
    file.write_text(f'__version__ = "1.2.0"\n{body}')
    view = session.run(f"%aegis plan {file}")
    assert str(view).startswith("~ notes 1.0.0 -> 1.2.0")
    file.write_text(f'__version__ = "1.2.0"\n{body}\n1 / 0\n')
    error, shown = session.fails(f"%aegis plan {file}", ComponentError)
    assert "ZeroDivisionError" in str(error)
    assert "1 / 0" in shown


def test_a_gate_in_a_cell_refuses_what_differs_and_lets_the_rest_through(session, capsys):
    session.run(notes())
    session.run("for word in ('a', 'bb', 'ccc'):\n    host.wait(host.create(Note, text=word))")
    error, _ = session.fails(notes("1.1.0", "len(self.text) % 3", "--gate "), GateError)
    assert error.rehearsal.differ == 1
    assert "1 differ, 0 raise" in capsys.readouterr().out
    assert session.notebook.thread.host.engine.registry.live["notes"].version == "1.0.0"
    done = session.run(notes("1.1.0", "sum(1 for _ in self.text)", "--gate=10 "))
    assert repr(done).startswith("notes 1.1.0")
    view = session.run(
        "from aegis.core.component import Source\n"
        "from aegis.core.rehearsal import Gate\n"
        f"host.rehearse(Source.of('notes', '1.2.0', {notes('', '1 / 0').partition(chr(10))[2]!r}))"
    )
    assert view.data.raises == 3
    assert "ZeroDivisionError" in view.html()
    session.run(notes("1.2.0", "len(self.text) + 0"))  # no gate is left over


@pytest.mark.parametrize("flag", ["--gate=much ", "--gate=0 ", "--plam "])
def test_a_gate_that_is_none_is_one_sentence(session, flag):
    session.fails(notes("1.1.0", flag=flag), UsageError)

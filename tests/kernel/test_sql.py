"""`host.sql` and `%%aegis_sql` in a notebook: what they show, bind, complete, and how they end."""

import sys

import pytest
from IPython.core.completer import provisionalcompleter
from IPython.core.error import UsageError

from aegis.core.errors import SqlError
from tests.kernel.shell import Session
from tests.kernel.test_notebook import simple


@pytest.fixture(scope="module")
def session():
    before = sys.modules["__main__"]
    session = Session()
    session.run(simple())
    session.run("for n in range(60): host.create(Note, text=f'<b>{n:02}</b>')")
    yield session
    session.close()
    sys.modules["__main__"] = before


def test_an_answer_is_a_table_with_a_bounded_number_of_rows(session):
    table = session.run("host.sql('select text from notes order by text')")
    html, text = table._repr_html_(), repr(table)
    assert html.count("<tr>") == 51
    assert "&lt;b&gt;49&lt;/b&gt;" in html
    assert "<b>" not in html
    assert "60 rows, as of event 60; 10 more" in html
    assert text.splitlines()[:2] == ["text", "<b>00</b>"]
    assert text.endswith("(60 rows, as of event 60; 10 more)")


def test_an_answer_goes_on_as_a_relation_and_as_arrow(session):
    session.run("table = host.sql('from notes where text = $which', which='<b>07</b>')")
    assert session.run("table.relation.project('text').fetchall()") == [("<b>07</b>",)]
    assert session.run("table.arrow().column('text').to_pylist()") == ["<b>07</b>"]
    assert session.run("[len(table), len(list(table))]") == [1, 1]


def test_a_cell_of_sql_takes_variables_and_binds_its_answer(session):
    session.run("few = 3")
    shown = session.run(
        "%%aegis_sql found\nselect count(*) as n\nfrom notes\nwhere text < '<b>' || lpad($few::varchar, 2, '0');\n"
    )
    assert shown.rows() == [(3,)]
    assert session.run("found") is shown
    assert session.run("%%aegis_sql\nselect 1").rows() == [(1,)]


def test_a_mistake_in_a_cell_of_sql_shows_its_line_and_none_of_ours(session):
    error, traceback = session.fails("%%aegis_sql\nselect text\nfrom note", SqlError)
    assert error.fields["line"] == 2
    assert "LINE 2: from note" in traceback
    assert "did you mean 'notes'" in traceback
    assert "run_cell_magic" not in traceback


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("%%aegis_sql\nselect $nobody", "there is no variable nobody"),
        ("%%aegis_sql 1a\nselect 1", "is no name for the answer"),
    ],
)
def test_what_a_cell_of_sql_lacks_is_said(session, cell, said):
    error, _ = session.fails(cell, UsageError)
    assert said in str(error)


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("%%aegis_sql\nselect * from no", "%%aegis_sql\nselect * from notes"),
        ("%%aegis_sql\nselect te", "%%aegis_sql\nselect text"),
        ("host.sql('select count(*) from eve", "host.sql('select count(*) from events"),
    ],
)
def test_tables_and_fields_are_completed(session, text, whole):
    with provisionalcompleter():
        found = list(session.shell.Completer.completions(text, len(text)))
    assert whole in [text[: each.start] + each.text for each in found]


def test_an_interrupt_ends_a_question_and_the_next_is_answered(kernel):
    endless = "select sum(a.range * b.range) from range(10000000) a, range(10000000) b"
    for cell in (f"host.sql('{endless}', timeout=3600)", f"%%aegis_sql\n{endless}"):
        kernel.run("host.sql('select 1')")
        reply = kernel.interrupted(cell)
        assert reply.status == "error"
        assert "KeyboardInterrupt" in reply.traceback
        assert kernel.value("host.sql('select 42').rows()") == "[(42,)]"

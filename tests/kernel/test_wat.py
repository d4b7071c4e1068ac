"""`%%wat`: a cell of WebAssembly text is a component, and what stops it is told by its own lines."""

import sys
import time

import pytest
from IPython.core.completer import provisionalcompleter
from IPython.core.error import UsageError

from aegis.core.errors import GuestError, NotFoundError
from aegis.core.flow import FlowState
from tests.kernel.shell import Session
from tests.wasm.parcels import parcels

BROKEN = ("$number (local", "$nmber (local")
UNSOUND = ("(i64.const 7000)", "(i32.const 7000)")
MENDED = ("  (i64.div_s (i64.const 7000) ", "  (i64.add (i64.const 7000) ")
CLOCK = """\
%%wat {options}stamps 1.0.0
;; [models.Stamp]
;; fields.at = {{type = "integer", default = 0}}
;; commands.stamp = {{}}
;; commands.spin = {{}}
;; [limits]
;; seconds = 0.05
;; [texts]
;; begin = '{{"record": {{"at": '
;; end = "}}}}"
(import "aegis:component/clock@0.1.0" "now" (func $now (result i64)))
(func $Stamp.stamp (param $input i64) (result i64)
  (call $join (global.get $begin) (call $join (call $digits (call $now)) (global.get $end))))
(func $Stamp.spin (param $input i64) (result i64) (loop $on (br $on)) unreachable)
"""
LOADED = """\
%%component reader 1.0.0
from aegis import Model

class Note(Model):
    text: str = ""
"""


@pytest.fixture(scope="module")
def shared():
    """A session for tests that leave nothing behind."""
    before = sys.modules["__main__"]
    session = Session()
    session.run(parcels())
    yield session
    session.close()
    sys.modules["__main__"] = before


def shown(session, value):
    """What a cell shows of a value, as text and as HTML."""
    found, _ = session.shell.display_formatter.format(value)
    return found["text/plain"], found.get("text/html", "")


# --- a cell that is a component -------------------------------------------------------------------


def test_it_serves_and_its_classes_are_bound(session):
    deployed = session.run(parcels())
    assert "parcels 1.0.0" in repr(deployed)
    assert "a module in WebAssembly" in deployed._repr_html_()
    session.run("parcel = host.create(Parcel, grams=7)")
    deadline = time.monotonic() + 10
    while session.run("host.get(Parcel, parcel.id).price") != 1000:
        assert time.monotonic() < deadline
    assert session.run("host.call(parcel, 'again').price") == 1000
    deployed = session.run(parcels("parcels 1.1.0", MENDED))
    assert deployed.changes[0] == "1.0.0 -> 1.1.0"
    assert session.run("host.call(parcel, 'again').price") == 7007
    assert "parcels 1.0.0" in repr(session.run("%aegis rollback parcels"))


def test_the_same_cell_again_changes_nothing(shared):
    assert shared.run(parcels()).changes == ("nothing changed: this very code served already",)


def test_a_whole_module_is_taken_as_it_is(session):
    text = session.notebook.whole("parcels", "1.0.0", parcels("x").partition("\n")[2])
    session.run(f"%%wat parcels 1.0.0\n{text}")
    assert session.run("host.create(Parcel, grams=1).grams") == 1


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("", "a component has a name and a version: %%wat"),
        ("Parcels 1.0.0", "no component name"),
        ("--fast parcels 1.0.0", "%%wat takes --plan"),
        ("--grant=clock --plan parcels 1.0.0", "--grant gives with a deploy"),
    ],
)
def test_a_bad_first_line_is_told_how_to_write_it(shared, line, said):
    error, _ = shared.fails(parcels(line), UsageError)
    assert said in str(error)


@pytest.mark.parametrize(
    ("change", "line", "shows"),
    [
        (BROKEN, 20, "(call $nmber (local"),
        (UNSOUND, 19, "(func $price"),
        (("grams = {type", "grams = type"), 5, ";; fields.grams = type"),
        (("endpoint", "endpont"), 4, ';; endpont = "parcels"'),
    ],
)
def test_a_mistake_shows_its_line_and_the_old_revision_serves(shared, change, line, shows):
    error, traceback = shared.fails(parcels("parcels 1.0.0", change))
    assert error.fields["line"] == line
    assert shows in traceback
    assert f":{line}\n" in traceback
    assert "parcels 1.0.0" in traceback
    assert "still serves" in traceback
    assert "loader" not in traceback
    assert "run_cell_magic" not in traceback


def test_a_plan_a_split_and_a_preview_take_it_too(session):
    session.run(parcels())
    plan = session.run(parcels("--plan parcels 1.1.0", ("retries = 0", "retries = 2")))
    assert "retries: 0 -> 2" in str(plan)
    assert "parcels 1.1.0" in repr(session.run(parcels("--preview parcels 1.1.0")))
    assert "10" in repr(session.run(parcels("--split=10 parcels 1.1.0", MENDED)))
    assert session.run("%aegis promote parcels").view.deployment.version == "1.1.0"


def test_the_whole_text_can_be_looked_at(shared, capsys):
    assert shared.run(parcels("--text parcels 9.0.0")) is None
    said = capsys.readouterr().out
    assert said.startswith("(module")
    assert '(func $aegis_invoke (export "aegis_invoke")' in said
    assert "9.0.0" in said
    assert "9.0.0" not in repr(shared.run("host"))


def test_what_it_may_not_use_is_refused_until_it_is_granted(session):
    error, _ = session.fails(CLOCK.format(options=""))
    assert 'host.grant("stamps", "host.clock")' in str(error)
    session.run(CLOCK.format(options="--grant=clock "))
    session.run("stamp = host.create('Stamp')")
    assert session.run("host.call(stamp, 'stamp').at") > 1_700_000_000_000
    about = repr(session.run("%aegis about stamps"))
    assert "host.clock  granted" in about
    assert "0.05 s of computing" in about


# --- what stops it --------------------------------------------------------------------------------


def test_a_trap_shows_the_lines_of_the_cell_and_no_python(session):
    session.run(parcels())
    session.run("parcel = host.create(Parcel, grams=0, note='nobody must see this')")
    _, traceback = session.fails("host.call(parcel, 'again')", GuestError)
    assert traceback.count(".py") == 0
    lines = [line.split() for line in traceback.splitlines()[-4:]]
    assert lines == [
        ["price", "cell", "1,", "line", "19"],
        ["Parcel.weigh", "cell", "1,", "line", "15"],
        ["Parcel.again", "cell", "1,", "line", "22"],
        ["aegis_invoke"],
    ]
    traps = session.run("host.traps('parcels')")
    assert [trap.function for trap in traps][-1] == "Parcel.again"
    assert "it divided by zero" in repr(traps)
    for value in (traps, traps[-1], session.run("host.replay(host.traps()[-1])")):
        for text in shown(session, value):
            assert "line 19" in text or "line 19" in shown(session, value)[1]
            assert "nobody must see this" not in text
    assert "nobody must see this" in traps[-1].input
    assert repr(session.run("%aegis traps")) == repr(session.run("host.traps()"))


def test_a_trap_happens_again_and_no_more_on_code_that_is_mended(session):
    session.run(parcels())
    session.run("parcel = host.create(Parcel, grams=0)")
    session.fails("host.call(parcel, 'again')", GuestError)
    session.run("trap = host.traps('parcels')[-1]")
    again = session.run("host.replay(trap)")
    assert again.same
    assert "stopped as then" in repr(again)
    session.run(parcels("parcels 1.1.0", MENDED))
    mended = session.run("host.replay(trap)")
    assert not mended.same
    assert mended.answer == '{"record": {"price": 7000}}'
    assert mended.answer not in repr(mended) + mended.html()
    assert session.run("host.replay(trap, '1.0.0')").same
    session.run(parcels("parcels 1.2.0", ("(call $Parcel.weigh", "(call $failed")))
    assert "it gives an error now" in repr(session.run("host.replay(trap)"))
    assert session.run("host.replay(trap, trap.label)").same  # which is not loaded any more
    _, traceback = session.fails("host.replay(trap, '9.0.0')", NotFoundError)
    assert "there is no revision '9.0.0' of parcels" in traceback
    assert len(session.run("host.traps()")) == len(session.run("host.traps('parcels')"))


def test_one_that_computes_without_end_is_stopped_and_can_be_replayed(session):
    session.run(CLOCK.format(options="--grant=clock "))
    session.run("stamp = host.create('Stamp')")
    _, traceback = session.fails("host.call(stamp, 'spin')", GuestError)
    assert "it computed for longer than 0.05 s" in traceback
    assert session.run("host.replay(host.traps('stamps')[-1])").data.again is not None
    assert session.run("host.call(stamp, 'stamp').at") > 0


def test_a_flow_that_trapped_replays_and_heals(session):
    session.run(parcels())
    session.run("parcel = host.create(Parcel, grams=0)")
    deadline = time.monotonic() + 10
    while not session.run("host.failed()"):
        assert time.monotonic() < deadline
    replayed = session.run("host.replay(parcel)")
    assert replayed.same
    assert "it divided by zero" in str(replayed.html())
    session.run(parcels("parcels 1.0.0", MENDED))
    healed = session.run("host.replay(parcel)")
    assert not healed.same
    flow, _ = session.run("host.flow(parcel)").flow, None
    assert flow.state is FlowState.COMPENSATED


def test_traps_of_what_is_not_there_are_an_error(shared):
    error, _ = shared.fails("host.traps('parcls')", NotFoundError)
    assert "did you mean 'parcels'" in str(error)
    shared.run(LOADED)
    assert shared.run("host.traps('reader')") == []
    assert shown(shared, shared.run("host.traps('reader')"))[0] == "no call was stopped"
    shared.run("%aegis undeploy reader")


# --- what is told of it ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("parcels", ["a module in WebAssembly", "1 s of computing", "Parcel", "cell 1"]),
        ("Parcel", ["What is sent.", "grams", "/aegis/api/models/parcels", "cell 1"]),
        ("Parcel.weigh", ["weigh(self", "parcel.created", "cell 1, line 15"]),
        ("Parcel.again", ["again(self", "parcel.updated", "cell 1, line 22"]),
    ],
)
def test_about_tells_of_its_parts(shared, name, said):
    told = repr(shared.run(f"%aegis about {name}"))
    for words in said:
        assert words in told


def test_a_question_mark_tells_of_it_and_two_show_its_text(shared):
    bundle = shared.shell.object_inspect_mime("Parcel", detail_level=0)["text/plain"]
    assert "What is sent." in bundle
    assert "(func" not in bundle
    bundle = shared.shell.object_inspect_mime("Parcel", detail_level=1)["text/plain"]
    assert "(func $Parcel.weigh" in bundle
    assert "_ModelMeta" not in bundle
    bundle = shared.shell.object_inspect_mime("Parcel.weigh", detail_level=1)["text/plain"]
    assert "(func $Parcel.weigh" in bundle


def test_its_first_line_is_completed(shared):
    def completed(text):
        with provisionalcompleter():
            found = list(shared.shell.Completer.completions(text, len(text)))
        return {text[: each.start] + each.text for each in found}

    assert "%%wat parcels" in completed("%%wat par")
    assert "%%wat parcels 1.0.1" in completed("%%wat parcels 1.")
    assert "%%wat --text" in completed("%%wat --te")
    assert "host.traps('parcels" in completed("host.traps('par")
    assert "%aegis traps parcels" in completed("%aegis traps par")


def test_nothing_of_the_magic_stays_when_the_notebook_leaves(session):
    assert "wat" in session.shell.magics_manager.magics["cell"]
    session.notebook.detach()
    assert "wat" not in session.shell.magics_manager.magics["cell"]
    session.notebook.attach()

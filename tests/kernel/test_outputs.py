"""Where output goes: to the cell that set it off, wherever in the host it is said; else the log."""

import json
import time
import urllib.request

import pytest

from tests.kernel.process import Kernel

TALK = """\
%%component talk 1.0.0
import asyncio, sys, threading
from typing import Protocol
from IPython.display import display
from tqdm.auto import tqdm
from aegis import Event, Model, Refused, adapter, blocking, command, on, port

class Voice(Protocol):
    async def say(self, word: str) -> None: ...

class Loud(Voice):
    async def open(self) -> None:
        print("opened")

    async def close(self) -> None:
        print("closed")

    @blocking
    def say(self, word: str) -> None:
        print(f"thread {word}")

async def later(word):
    await asyncio.sleep(0.5)
    print(f"task {word}")

class Talk(Model, endpoint="talks"):
    word: str
    tries: int = 0

    @port(consumes="talk.created", produces="talk.told", timeout=10, retries=0)
    async def tell(self, voice: Voice = adapter()) -> None:
        print(f"port {self.word}")
        print(f"error {self.word}", file=sys.stderr)
        display({"text/plain": f"shown {self.word}"}, raw=True)
        list(tqdm([1], desc=f"bar {self.word}"))
        await voice.say(self.word)
        loop = asyncio.get_running_loop()
        loop.call_later(0.3, print, f"callback {self.word}")
        loop.run_in_executor(None, print, f"pool {self.word}")
        tasks.append(asyncio.create_task(later(self.word)))

    @tell.undo
    async def untell(self, voice: Voice = adapter()) -> None:
        print(f"undo {self.word}")

    @port(consumes=tell, timeout=10, retries=1, backoff=0.3)
    async def again(self, voice: Voice = adapter()) -> None:
        print(f"attempt {self.word}")
        if self.word.startswith("bad"):
            raise Refused("no")
        if self.word not in seen:
            seen.append(self.word)
            raise ValueError("once more")

    @command
    def speak(self) -> None:
        print(f"command {self.word}")

tasks, seen = [], []

@on("talk.told")
async def hear(event: Event) -> None:
    print("heard", event.subject)
"""

# Everything that a talk says from its creation on, in whatever thread, task or callback.
SAID = ("port", "error", "shown", "bar", "thread", "callback", "pool", "task", "attempt")


def said(reply) -> str:
    return reply.stdout + reply.stderr + reply.result


def has_all(reply, word: str) -> bool:
    return all(f"{kind} {word}" in said(reply) for kind in SAID)


@pytest.fixture(scope="module", params=["aegis", "python3"])
def talk(request, tmp_path_factory):
    """A kernel with the component: ours, and a stock one with the extension."""
    folder = tmp_path_factory.mktemp("notebooks")
    kernel = Kernel(folder, name=request.param, AEGIS_EPHEMERAL="1")
    if request.param == "python3":
        assert kernel.run("%load_ext aegis_kernel").status == "ok"
    kernel.deployed = kernel.begin(TALK, cell_id="deploy")
    kernel.hear(lambda: kernel.deployed.status)
    assert kernel.deployed.status == "idle", kernel.deployed.traceback
    yield kernel
    kernel.close()


def post(kernel, word: str) -> None:
    """Create a talk over HTTP: no cell sets it off."""
    request = urllib.request.Request(
        f"{kernel.value('host.address')}/aegis/api/models/talks",
        json.dumps({"word": word}).encode(),
        {
            "Authorization": f"Bearer {kernel.value('host.token')}",
            "Content-Type": "application/json",
        },
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert answer.status == 201


def log(kernel) -> str:
    """The lines of the host's log, as a view gets them."""
    return kernel.value(
        "'\\n'.join(line.source + ': ' + line.text for line in "
        "host._thread.host.monitor.frame(0, frozenset({'log'}), reset=True).log)"
    )


@pytest.mark.parametrize("call", ["host.create", "await host.aio.create"])
def test_all_that_a_cell_sets_off_shows_there_although_others_run_meanwhile(talk, call):
    word = "blocking" if call == "host.create" else "awaited"
    first = talk.begin(f"made = {call}(Talk, word='{word}')")
    others = [talk.begin("import time; time.sleep(0.05); print('mine')") for _ in range(3)]
    talk.hear(lambda: has_all(first, word))
    talk.hear(lambda: all(other.status for other in others))
    assert said(first).count(f"attempt {word}") == 2  # a retry is the same cell's
    assert all(said(other) == "mine\n" for other in others)


def test_two_cells_that_interleave_keep_apart(talk):
    cells = {
        word: talk.begin(f"for n in range(5): made = host.create(Talk, word=f'{word}{{n}}')")
        for word in ("left", "right")
    }
    for word, reply in cells.items():
        talk.hear(
            lambda reply=reply, word=word: all(has_all(reply, f"{word}{n}") for n in range(5))
        )
    assert "right" not in said(cells["left"])
    assert "left" not in said(cells["right"])


def test_an_undo_and_a_command_show_in_the_cell_that_set_them_off(talk):
    cell = talk.begin("bad = host.create(Talk, word='bad')")
    talk.hear(lambda: "undo bad" in said(cell))
    other = talk.begin("_ = host.call(bad, 'speak')")
    talk.hear(lambda: other.status)
    assert said(other) == "command bad\n"


def test_what_no_cell_set_off_shows_where_the_component_was_deployed(talk):
    before = said(talk.deployed)
    assert "opened" in before
    post(talk, "posted")
    busy = talk.begin("import time; time.sleep(0.3); print('mine')")
    talk.hear(lambda: has_all(talk.deployed, "posted") and busy.status)
    assert said(busy) == "mine\n"
    assert "heard" in said(talk.deployed)  # a listener's too, whichever cell set off the event


def test_a_cell_that_ran_again_shows_what_its_earlier_run_deployed(talk):
    again = talk.begin("print('run again')", cell_id="deploy")
    talk.hear(lambda: again.status)
    post(talk, "afterwards")
    talk.hear(lambda: has_all(again, "afterwards"))
    talk.deployed = again


def test_what_belongs_to_no_cell_goes_to_the_log(talk):
    warns = "import logging; logging.getLogger(__name__).warning('beware')"
    anew = TALK.partition("\n")[2] + f"\nprint('loading')\n{warns}\n"
    anew = anew.replace('print("opened")', f'{warns}; print("opened")')
    cell = talk.begin(f"TEXT = {anew!r}")
    talk.hear(lambda: cell.status)
    asked = talk.begin(
        "import asyncio\n"
        "def deploy(version):\n"
        "    return asyncio.run_coroutine_threadsafe("
        "_host.deploy('quiet', version, TEXT.replace('Talk', 'Whisper').replace('talk', 'whisper')),"
        " _loop)\n"
        "_host, _loop = host._thread.host, host._thread._running.loop\n"
        "import logging, threading\n"
        "def nowhere():\n"
        "    deploy('1.0.0').result(20)\n"
        "    logging.basicConfig()\n"
        "    deploy('1.1.0').result(20)\n"
        "thread = threading.Thread(target=nowhere)\n"
        "thread.start(); thread.join()\n"
        "host._thread.call(lambda: None)"
    )
    talk.hear(lambda: asked.status)
    assert asked.status == "idle", asked.traceback
    deadline = time.monotonic() + 10
    while (lines := log(talk)).count("opened") < 2:
        assert time.monotonic() < deadline, lines
    assert said(asked) == ""
    # Once at loading, once at opening; and so while Python's own logging prints to the cells, too.
    assert lines.count("beware") == 4
    assert "" not in talk.begun


TROUBLE = """\
%%component trouble 1.0.0
import asyncio, logging, threading
from aegis import Model, command, log

async def fail():
    raise ValueError("nobody fetches this")

class Broken:
    def __del__(self):
        raise ValueError("in del")

def end():
    raise ValueError("in thread")

class Trouble(Model, endpoint="troubles"):
    kind: str = ""

    @command
    async def cause(self, kind: str) -> None:
        log("about to fail", kind=kind)
        match kind:
            case "task":
                task = asyncio.create_task(fail())
                await asyncio.wait([task])
            case "callback":
                asyncio.get_running_loop().call_soon(end)
            case "del":
                Broken()
            case "thread":
                threading.Thread(target=end).start()
            case "library":
                logging.getLogger("tornado.general").warning("tornado warns")
"""


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("task", "nobody fetches this"),
        ("callback", "in thread"),
        ("del", "in del"),
        ("thread", "in thread"),
        ("library", "tornado warns"),
    ],
)
def test_what_the_hosts_thread_complains_of_goes_to_the_log(talk, kind, told):
    assert talk.run(TROUBLE).status == "ok"
    talk.run("trouble = host.create(Trouble)")
    before = log(talk).count(told)
    cell = talk.begin(f"_ = host.call(trouble, 'cause', kind={kind!r})")
    talk.hear(lambda: cell.status)
    deadline = time.monotonic() + 10
    while log(talk).count(told) == before:
        assert time.monotonic() < deadline, log(talk)
    assert f"about to fail kind='{kind}'" in log(talk)
    assert said(cell) == ""


def test_what_a_cell_itself_complains_of_shows_there(talk):
    cell = talk.begin(
        "import asyncio, gc\n"
        "async def fail(): raise ValueError('mine')\n"
        "task = asyncio.create_task(fail())\n"
        "await asyncio.wait([task])\n"
        "del task\n"
        "class Broken:\n"
        "    def __del__(self): raise ValueError('my del')\n"
        "Broken()\n"
        "_ = gc.collect()"
    )
    talk.hear(lambda: cell.status)
    talk.hear(lambda: "my del" in cell.stderr and "mine" in cell.stderr)


def test_a_flow_that_a_restart_cut_goes_on_where_its_component_is_deployed(start_kernel, tmp_path):
    patient = TALK.replace("await voice.say(self.word)", "await asyncio.sleep(3600)")
    kernel = start_kernel(tmp_path)
    assert kernel.run(patient).status == "ok"
    first = kernel.begin("_ = host.create(Talk, word='cut')")
    kernel.hear(lambda: "port cut" in said(first))
    kernel.restart()
    kernel.begun.clear()
    deployed = kernel.begin(patient)
    other = kernel.begin("import time; time.sleep(0.3)")
    kernel.hear(lambda: "port cut" in said(deployed) and other.status)
    assert said(other) == ""

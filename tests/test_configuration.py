"""What aegis.toml, the environment and the command line say of ports, and mistakes in it."""

import pytest

from aegis.adapters.storage.datasources.files import FilesDatasource
from aegis.adapters.storage.datasources.kinds import making
from aegis.adapters.storage.datasources.memory import MemoryDatasource
from aegis.bootstrap import build_host
from aegis.configuration import read
from aegis.core.address import FORGES
from aegis.core.allowance import Allowance
from aegis.core.breaker import Breaking
from aegis.core.caching import Caching
from aegis.core.errors import ConfigError
from aegis.core.keep import Keep
from aegis.core.lock import Wanted
from aegis.core.policy import Policy
from aegis.core.port import REQUIRED
from aegis.core.rehearsal import Gate
from aegis.core.trust import Trusted


def toml(folder, text):
    (folder / "aegis.toml").write_text(text)
    return folder


def test_the_table_of_ports_says_what_is_usual(tmp_path):
    config = read(
        toml(
            tmp_path,
            """
            [ports]
            timeout = 5
            retries = 1
            backoff = 0.5
            factor = 3
            backoff_most = 20
            jitter = 0
            breaker = { volume = 4, pause = 2 }
            """,
        )
    )
    assert config.defaults == Policy(
        timeout=5,
        retries=1,
        backoff=0.5,
        factor=3,
        backoff_most=20,
        jitter=0,
        breaker=Breaking(volume=4, pause=2),
    )


def test_without_a_file_all_is_usual(tmp_path):
    assert read(tmp_path).defaults == Policy()


def test_breakers_can_be_turned_off(tmp_path):
    assert read(toml(tmp_path, "[ports]\nbreaker = false\n")).defaults.breaker is None


def test_the_command_line_goes_before_the_environment_and_that_before_the_file(
    tmp_path, monkeypatch
):
    toml(tmp_path, "[ports]\ntimeout = 1\nretries = 1\nbackoff = 1\nbreaker = { pause = 1 }\n")
    monkeypatch.setenv("AEGIS_PORTS_RETRIES", "2")
    monkeypatch.setenv("AEGIS_PORTS_BACKOFF", "2")
    monkeypatch.setenv("AEGIS_PORTS_BREAKER_PAUSE", "2")
    found = read(tmp_path, overrides={"ports.backoff": "3"}).defaults
    assert (found.timeout, found.retries, found.backoff) == (1, 2, 3)
    assert found.breaker == Breaking(pause=2)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[ports]\ntimout = 5", r"aegis\.toml: ports\.timout is no setting.*'timeout'"),
        ("[ports]\nbreaker = { puase = 5 }", r"ports\.breaker\.puase is no setting"),
        ("[ports]\ntimeout = 'soon'", r"ports\.timeout"),
        ("[ports]\nretries = -1", "retries must be 0 or more"),
        ("ports = 5", r"aegis\.toml"),
    ],
)
def test_a_mistake_is_refused_by_name(tmp_path, text, words):
    with pytest.raises(ConfigError, match=words):
        read(toml(tmp_path, text))


def test_a_mistake_on_the_command_line_is_refused_too(tmp_path):
    with pytest.raises(ConfigError, match=r"ports\.timout"):
        read(tmp_path, overrides={"ports.timout": "5"})
    with pytest.raises(ConfigError, match=r"ports\.timeout"):
        read(tmp_path, overrides={"ports.timeout": "soon"})


def test_where_models_are_kept(tmp_path):
    text = """
        [datasources.archive]
        kind = "files"
        path = "archive"
        [stores]
        "orders.Note" = "archive"
    """
    config = read(toml(tmp_path, text))
    assert config.datasources == {"archive": {"kind": "files", "path": "archive"}}
    assert config.stores == {"orders.Note": "archive"}
    assert "stores" not in config.values
    made = making(config.datasources, None)
    assert isinstance(made["archive"](), FilesDatasource)
    assert isinstance(made["files"](), MemoryDatasource)  # a host in memory has no directory
    assert isinstance(making({}, tmp_path)["files"](), FilesDatasource)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ('kind = "mongo"\nurl = "x"\ndatabase = "d"', r"\[datasources.x\].*did you mean 'mongodb'"),
        ('kind = "files"', r"\[datasources.x\].*`path`"),
        ('kind = "files"\npath = "p"\nmode = 1', "mode"),
        ('path = "p"', "kind"),
    ],
)
def test_a_mistake_in_a_datasource_is_told(tmp_path, table, said):
    config = read(toml(tmp_path, f"[datasources.x]\n{table}\n"))
    with pytest.raises(ConfigError, match=said):
        build_host(config)


def test_the_table_of_the_cache(tmp_path):
    said = '[cache]\nrecords = 10\nmodels = {"orders.Order" = 0}\n'
    assert read(toml(tmp_path, said)).caching == Caching(records=10, models={"orders.Order": 0})
    assert read(toml(tmp_path, "")).caching == Caching()
    for line in ("record = 1", "records = -1", "bytes = 0.5", 'models = {"a.B" = "all"}'):
        with pytest.raises(ConfigError, match=line.split(" ", 1)[0].rstrip("s")):
            read(toml(tmp_path, f"[cache]\n{line}\n"))


def test_the_table_of_what_is_kept(tmp_path):
    config = read(toml(tmp_path, "[keep]\nevents_days = 30\nevents_most = 1000000\n"))
    assert config.keep == Keep(events_days=30, events_most=1_000_000)
    assert "keep" not in config.values
    assert read(toml(tmp_path, "")).keep == Keep(recordings_days=7, taken_days=7, answers_hours=24)


@pytest.mark.parametrize(
    ("line", "said"),
    [("event_days = 1", "event_days"), ("events_days = 0", "> 0"), ("events_most = 0.5", "int")],
)
def test_a_mistake_in_the_table_of_what_is_kept_is_told(tmp_path, line, said):
    with pytest.raises(ConfigError, match=said):
        read(toml(tmp_path, f"[keep]\n{line}\n"))


def test_the_most_that_webassembly_gets(tmp_path, monkeypatch):
    assert read(toml(tmp_path, "")).allowance == Allowance()
    config = read(toml(tmp_path, "[wasm]\nseconds = 2\nmemory = 131072\nfuel = 10\n"))
    assert config.allowance == Allowance(seconds=2, memory=131072, fuel=10)
    assert config.lookup("wasm.seconds") is REQUIRED
    monkeypatch.setenv("AEGIS_WASM_SECONDS", "0.5")
    monkeypatch.setenv("AEGIS_WASM_OUTPUT", "2048")
    config = read(toml(tmp_path, "[wasm]\nseconds = 2\n"))
    assert config.allowance == Allowance(seconds=0.5, output=2048)
    monkeypatch.setenv("AEGIS_WASM_SECONDS", "soon")
    with pytest.raises(ConfigError, match=r"\[wasm\]: .*seconds"):
        read(toml(tmp_path, ""))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("second = 1", "second"),
        ("seconds = 0", "> 0"),
        ("seconds = 3601", "<= 3600"),
        ("memory = 1", ">= 65536"),
        ("memory = 4294967297", "<= 4294967296"),
        ("output = 10", ">= 1024"),
        ("fuel = 0", ">= 1"),
        ("fuel = 0.5", "int"),
    ],
)
def test_a_mistake_in_what_webassembly_gets_is_told(tmp_path, line, said):
    with pytest.raises(ConfigError, match=rf"\[wasm\]: .*{said}"):
        read(toml(tmp_path, f"[wasm]\n{line}\n"))


def test_where_components_come_from(tmp_path, monkeypatch):
    text = """
    [component]
    name = "orders"
    version = "1.0.0"
    [sources.work]
    kind = "gitlab"
    api = "https://git.company.example/api/v4"
    [sources.github]
    api = "https://github.company.example/api/v3"
    token = "of-the-file"
    """
    monkeypatch.setenv("AEGIS_SOURCES_WORK_TOKEN", "of-the-environment")
    config = read(toml(tmp_path, text))
    assert config.directory == tmp_path
    work, github = config.sources["work"], config.sources["github"]
    assert (work.kind, work.api) == ("gitlab", "https://git.company.example/api/v4")
    assert work.token.reveal() == "of-the-environment"
    assert (github.kind, github.api) == ("github", "https://github.company.example/api/v3")
    assert github.token.reveal() == "of-the-file"
    assert config.sources["gitlab"] == FORGES["gitlab"]
    assert "of-the" not in repr(config.sources)
    for key in ("sources.work.token", "sources.github.token", "component.name"):
        assert config.lookup(key) is REQUIRED


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("[sources.work]\nkind = 'gitlab'", r"\[sources.work\]: api is the address"),
        ("[sources.work]\nkind = 'git'", r"\[sources.work\]: kind is one of github"),
        ("[sources.work]\nkind = 'gitlab'\napi = 'http://x.example'", "over a network it is https"),
        ("[sources.github]\ntoken = 'hush\u00e4'", r"\[sources.github\]: token is a text"),
        ("[sources.github]\ntokn = 'x'", "did you mean 'token'"),
        ("[sources]\ntoken = 'x'", "aegis.toml: Expected `object`"),
    ],
)
def test_a_mistake_in_a_source_is_told(tmp_path, table, said):
    with pytest.raises(ConfigError, match=said) as refused:
        read(toml(tmp_path, table))
    assert "hush" not in str(refused.value)


def test_the_table_of_components(tmp_path):
    text = """
        [components]
        orders = "github:acme/orders@^1.2"
        [components.shipping]
        source = "./shipping"
        follow = true
        every = 60
    """
    config = read(toml(tmp_path, text))
    assert config.components == {
        "orders": Wanted(source="github:acme/orders@^1.2"),
        "shipping": Wanted(source="./shipping", follow=True, every=60),
    }
    assert config.lock == tmp_path / "aegis.lock"
    assert not config.locked
    assert "components" not in config.values


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ('orders = "a"\norders = "b"', r"aegis\.toml cannot be read: .*overwrite.*line 3"),
        ('orders = "a"\n[components.orders]\nsource = "b"', r"aegis\.toml cannot be read"),
        ("orders = 1", r"\[components\] orders: "),
        ('orders = ""', r"\[components\] orders: its address is empty"),
        ('Orders = "a"', r"\[components\]: 'Orders' is no name"),
        ('orders = {source = "a", folow = true}', r"\[components\] orders: .*folow"),
        ('orders = {source = "a", every = 0}', r"\[components\] orders: .*every"),
        ("orders = {follow = true}", r"\[components\] orders: .*source"),
    ],
)
def test_a_mistake_in_the_table_of_components_is_told(tmp_path, lines, said):
    with pytest.raises(ConfigError, match=said):
        read(toml(tmp_path, f"[components]\n{lines}\n"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[trust]\npin = 1\n", "pin"),
        ('[trust]\nunsigned = "github:acme"\n', "array"),
        ('[trust]\nunsigned = ["*"]\n', "no pattern of addresses"),
        ('[trust.pins]\n"github:acme/*" = "ed25519:x"\n', "array"),
        ('[trust.pins]\n"github:acme/*" = ["ed25519:x"]\n', "no ed25519 key"),
        ('[trust.pins]\n"github:*/orders" = []\n', "where none can be"),
    ],
)
def test_a_mistake_in_what_is_trusted_is_told(tmp_path, text, said):
    with pytest.raises(ConfigError, match=rf"aegis\.toml: .*{said}"):
        read(toml(tmp_path, text))


def test_nothing_from_elsewhere_is_trusted_where_nothing_is_said(tmp_path):
    assert read(tmp_path).trusted == Trusted()


def test_the_gate_of_what_comes_by_itself_is_a_table(tmp_path):
    assert read(tmp_path).gate == Gate()
    (tmp_path / "aegis.toml").write_text("[gate]\nlast = 50\ndiffer = 2\n")
    assert read(tmp_path).gate == Gate(last=50, differ=2)
    for text in ("last = 0", "lost = 3", 'last = "many"', "seconds = 0"):
        (tmp_path / "aegis.toml").write_text(f"[gate]\n{text}\n")
        with pytest.raises(ConfigError, match=r"aegis\.toml"):
            read(tmp_path)


def test_a_file_grants_what_components_may_reach(tmp_path):
    said = '[grants]\nshipping = ["orders.Order:read", "orders:order.*"]\n'
    config = read(toml(tmp_path, said))
    assert config.grants == {"shipping": ("orders.Order:read", "orders:order.*")}
    for wrong in ('shipping = ["Order"]', 'shipping = "orders.Order"', "shipping = [1]"):
        with pytest.raises(ConfigError, match=r"aegis\.toml"):
            read(toml(tmp_path, f"[grants]\n{wrong}\n"))

"""A component is signed from a shell, fetched from elsewhere and taken by who pinned its key."""

import asyncio
import hashlib
import tomllib

import pytest

from aegis.adapters.trust.keys import KeyFiles
from aegis.adapters.trust.signing import described
from aegis.bootstrap import build_host, build_sources
from aegis.configuration import read
from aegis.core.errors import ManifestError, TrustError
from aegis.core.manifest import read_manifest
from tests.hub import Hub
from tests.signed import CODE
from tests.sources import zipped

PRICES = "PRICE = 3\n"
HEAD = '[component]\nname="orders"\nversion="1.0.0"\nmodels=["orders.py"]\n'


@pytest.fixture
def hub():
    with Hub() as hub:
        yield hub


@pytest.fixture
def key(aegis):
    return aegis("keys", "new", "acme").out.strip()


def contents(folder):
    """What a repository or an archive of the folder has."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def at(tmp_path, hub, trust=""):
    """A host with a data directory that finds GitHub on the hub."""
    (tmp_path / "aegis.toml").write_text(f'[sources.github]\napi = "{hub.github}"\n{trust}')
    (tmp_path / "data").mkdir(exist_ok=True)
    return build_host(read(tmp_path, data=tmp_path / "data"))


def test_what_belongs_to_a_component_is_signed_and_what_its_author_wrote_stays(aegis, folder, key):
    (folder / "orders.py").write_bytes(b"import prices\n" + CODE)
    (folder / "prices.py").write_text(PRICES)
    for other in (".hidden/x.py", "__pycache__/orders.pyc", "tests/test_orders.py", "README.md"):
        path = folder / other
        path.parent.mkdir(exist_ok=True)
        path.write_text("")
    before = (folder / "aegis.toml").read_text()
    said = aegis("sign", folder, "--expires", "90d").said
    assert "orders 1.0.0 is signed with acme" in said
    assert "orders.py, prices.py" in said
    after = (folder / "aegis.toml").read_text()
    assert set(before.splitlines()) <= set(after.splitlines())
    assert list(tomllib.loads(after)["component"]["files"]) == ["orders.py", "prices.py"]
    assert key in (folder / "aegis.sig").read_text()
    assert sorted(path.name for path in folder.glob("*aegis*")) == ["aegis.sig", "aegis.toml"]
    aegis("sign", folder)
    assert (folder / "aegis.toml").read_text() == after


def test_signing_anew_follows_what_has_changed(aegis, folder, key):
    aegis("sign", folder)
    toml = folder / "aegis.toml"
    toml.write_text(toml.read_text().replace('["orders.py"]', '["sales.py"]'))
    (folder / "orders.py").rename(folder / "sales.py")
    aegis("sign", folder)
    assert list(read_manifest(toml.read_bytes()).files) == ["sales.py"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has no [component]"),
        ("[component", "cannot be read"),
        ('[component]\nname = "orders"\nversion = "1"\nmodels = ["orders.py"]\n', "is no version"),
        (
            '[component]\nname = "orders"\nversion = "1.0.0"\nmodels = ["gone.py"]\n',
            "there is no 'gone.py'",
        ),
        ('[component]\nname = "orders"\nversion = "1.0.0"\n', "names no file of code"),
        ("component.x = 1", "has no 'x'"),
    ],
)
def test_what_cannot_be_signed_is_told_and_stays_as_it_is(aegis, folder, key, text, said):
    (folder / "aegis.toml").write_text(text)
    assert said in aegis("sign", folder, expect=2).said
    assert (folder / "aegis.toml").read_text() == text
    assert not (folder / "aegis.sig").exists()


def test_without_a_key_or_a_manifest_nothing_is_signed(aegis, folder, tmp_path):
    assert "aegis keys new" in aegis("sign", folder, expect=2).said
    aegis("keys", "new", "acme")
    aegis("keys", "new", "other")
    assert "--key is one of acme, other" in aegis("sign", folder, expect=2).said
    (tmp_path / "empty").mkdir()
    told = aegis("sign", tmp_path / "empty", "--key", "acme", expect=2).said
    assert "aegis.toml cannot be read" in told
    assert "no span" in aegis("sign", folder, "--expires", "forever", expect=2).said


@pytest.mark.parametrize(
    "text",
    [
        f"{HEAD}[server]\nport=1\n",
        f'{HEAD}[component.grants] # mine\nx=["A"]\n# end',
        HEAD.replace("\n", "\r\n") + 'files = {"gone.py" = "x"}\r\n',
        f'{HEAD}[component.files]\n# a\n"orders.py" = "old" # b\n"gone.py" = "old"\n\n[server]\nport=1\n',
        f"[server]\nport=1\n{HEAD}",
    ],
)
def test_digests_are_written_into_any_usual_manifest_once(text):
    files = {"orders.py": CODE, "wheels/a b-1.0.whl": b"x"}
    made = described(text.encode(), files)
    assert sorted(read_manifest(made).files) == sorted(files)
    assert described(made, files) == made
    others = {**tomllib.loads(text)}
    others["component"] = {**others["component"], "files": dict(read_manifest(made).files)}
    assert tomllib.loads(made.decode()) == others
    for line in text.splitlines():
        if "#" in line:
            assert line.partition("#")[2] in made.decode()


def test_a_manifest_in_one_line_is_not_guessed_at():
    text = b'component = {name="orders", version="1.0.0", models=["orders.py"]}\n[server]\nport=1\n'
    with pytest.raises(ManifestError, match="a line for each value"):
        described(text, {"orders.py": CODE})


async def test_a_host_takes_what_was_signed_from_a_repository_and_from_a_zip(
    aegis, folder, key, hub, tmp_path
):
    run = asyncio.to_thread
    await run(aegis, "sign", folder)
    repo = hub.repo("acme/orders")
    repo.commit({**contents(folder), "README.md": "x", "tests/t.py": "x"}, tag="v1.0.0")
    hub.files("orders.zip", zipped(contents(folder)))
    data = tmp_path / "data"
    async with at(tmp_path, hub) as host:
        for address in ("github:acme/orders@^1", f"{hub.url}/files/orders.zip"):
            with pytest.raises(TrustError, match="nobody is trusted"):
                await host.deploy(address)
        await run(aegis, "keys", "pin", "github:acme/*", key, "--data", data)
        await run(aegis, "keys", "pin", f"{hub.url}/files/", key, "--data", data)
        deployment = await host.deploy("github:acme/orders@^1")
        assert deployment.signed.key == key
        assert (await host.deploy(f"{hub.url}/files/orders.zip")).number == deployment.number
        (folder / "orders.py").write_bytes(CODE + b"# changed\n")
        repo.commit(contents(folder), tag="v1.1.0")
        with pytest.raises(TrustError, match="not what the manifest says"):
            await host.deploy("github:acme/orders@v1.1.0")
        await host.create("Order", total=3)
        told = [one.action for one in await host.audit()]
        assert told == ["refuse", "refuse", "pin", "pin", "deploy", "refuse"]
    lines = (await run(aegis, "audit", "--data", data)).out.splitlines()
    assert len(lines) == 6
    assert f"key {key}" in lines[4]


async def test_what_a_signed_component_depends_on_is_signed_or_named_by_its_digest(
    aegis, folder, key, hub, tmp_path
):
    hub.repo("other/pricing").commit({"pricing.py": '__version__ = "1.0.0"\nPRICE = 3\n'})
    (folder / "orders.py").write_bytes(b"import pricing\n" + CODE)
    toml = folder / "aegis.toml"
    said = toml.read_text()
    trust = f'[trust.pins]\n"github:acme/*" = ["{key}"]\n'
    async with at(tmp_path, hub, trust) as host:
        (found,) = await build_sources(read(tmp_path, data=None)).fetch("github:other/pricing")
        repo = hub.repo("acme/orders")
        for digest, tag in (("", "v1"), (f', sha256 = "{found.digest}"', "v2")):
            asked = f'pricing = {{source = "github:other/pricing"{digest}}}\n'
            toml.write_text(f"{said}[component.dependencies]\n{asked}")
            await asyncio.to_thread(aegis, "sign", folder)
            repo.commit(contents(folder), tag=tag)
        with pytest.raises(TrustError, match=r"nobody is trusted for .*other/pricing"):
            await host.deploy("github:acme/orders@v1")
        (entry,) = await host.audit(1)
        assert (entry.action, entry.about) == ("refuse", "orders")
        await host.deploy("github:acme/orders@v2")


async def test_an_address_that_names_its_content_is_enough(hub, tmp_path):
    content = zipped({"orders.py": b'__version__ = "1.0.0"\n' + CODE})
    digest = hashlib.sha256(content).hexdigest()
    hub.files("orders.zip", content)
    async with at(tmp_path, hub) as host:
        address = f"{hub.url}/files/orders.zip"
        await host.deploy(f"{address}#sha256={digest}")
        with pytest.raises(TrustError, match="another sha256"):
            await host.deploy(f"{address}#sha256={'0' * 64}")
        assert [one.action for one in await host.audit()] == ["deploy", "refuse"]


async def test_what_needs_no_signature_is_said_in_the_configuration(hub, tmp_path):
    hub.files("orders.zip", zipped({"orders.py": b'__version__ = "1.0.0"\n' + CODE}))
    trust = '[trust]\nunsigned = ["http://127.0.0.1:*/files/"]\n'
    async with at(tmp_path, hub, trust) as host:
        assert (await host.deploy(f"{hub.url}/files/orders.zip")).signed is None
        assert host.status().unsigned == ("http://127.0.0.1:*/files/",)
        assert [one.action for one in await host.audit()] == ["trust", "deploy"]


async def test_pins_of_the_configuration_count(aegis, folder, key, hub, tmp_path):
    await asyncio.to_thread(aegis, "sign", folder)
    hub.repo("acme/orders").commit(contents(folder))
    trust = f'[trust.pins]\n"github:acme/*" = ["{key}"]\n'
    async with at(tmp_path, hub, trust) as host:
        assert (await host.deploy("github:acme/orders")).signed.key == key


async def test_a_host_in_memory_goes_by_the_pins_that_it_is_shown(
    aegis, folder, key, hub, tmp_path
):
    await asyncio.to_thread(aegis, "sign", folder)
    await asyncio.to_thread(aegis, "keys", "pin", "github:acme/*", key, "--data", tmp_path)
    hub.repo("acme/orders").commit(contents(folder))
    (tmp_path / "aegis.toml").write_text(f'[sources.github]\napi = "{hub.github}"\n')
    async with build_host(read(tmp_path, data=None)) as host:
        with pytest.raises(TrustError, match="nobody is trusted"):
            await host.deploy("github:acme/orders")
    async with build_host(read(tmp_path, data=None, pins=tmp_path)) as host:
        await host.deploy("github:acme/orders")


def test_keys_of_others_do_not_sign(aegis, folder, tmp_path):
    other = KeyFiles(tmp_path / "others")
    other.new("acme")
    aegis("sign", folder, "--dir", tmp_path / "others")
    assert other.public("acme") in (folder / "aegis.sig").read_text()

"""The files of a new component: a manifest, a model with a port and an adapter, and a test."""

from __future__ import annotations

import keyword
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from aegis.core.component import noun
from aegis.core.errors import ConflictError, InvalidError
from aegis.core.manifest import FILE, NAME, TAKEN

MANIFEST = """\
# What this folder is as a source: a component. Every other table is for a host that runs here.
[component]
name = "{name}"
version = "0.1.0"
description = "{title}, and a word of thanks for each"
models = ["{module}.py"]

# Libraries that it imports and a host may not have: pure-Python wheels, each for it alone.
[component.dependencies]
# python-slugify = ">=8"

# What other components may reach; without this table that is the host's to say.
# [component.exports]
# models = ["{model}"]
# events = ["{noun}.*"]

# What it needs of other components; a host grants it or does not.
# [component.grants]
# customers = ["Customer", "customer.*"]

# `aegis sign` adds [component.files], the sha256 of every file: others can check what they get.
"""

COMPONENT = '''\
"""{title}: what was ordered by whom, and a word of thanks."""

from typing import Protocol

from aegis import Model, adapter, log, port

__version__ = "0.1.0"  # as in aegis.toml


class Mail(Protocol):
    """What the port below needs of the outside."""

    async def send(self, to: str, text: str) -> str:
        """Send `text`; the number that the letter got."""
        ...


class {model}(Model, endpoint="{name}"):
    """One of the {name}; over HTTP they are at /{name}."""

    customer: str
    item: str
    letter: str | None = None

    @port(consumes="{noun}.created", produces="{noun}.thanked")
    async def thank(self, mail: Mail = adapter()) -> "{model}":
        """Runs when one was created; what it returns is stored."""
        return self.update(letter=await mail.send(self.customer, f"Thank you for {{self.item}}"))


class Console(Mail):
    """An adapter: it writes letters into the log. Another one would call a partner."""

    async def send(self, to: str, text: str) -> str:
        """Log a letter."""
        log(f"to {{to}}: {{text}}")
        return f"letter-{{len(text)}}"
'''

TEST = '''\
"""The component, by itself and in a host that keeps everything in memory."""

import asyncio
from pathlib import Path

from aegis.testing import memory_host
from {module} import Console, {model}

TEXT = Path(__file__).with_name("{module}.py").read_text(encoding="utf-8")


def test_the_port_is_a_plain_method():
    thing = {model}(id="1", customer="ada", item="tea")
    assert asyncio.run(thing.thank(Console())).letter == "letter-17"


def test_whoever_orders_is_thanked():
    async def run():
        async with memory_host() as host:
            await host.deploy("{name}", "0.1.0", TEXT)
            async with asyncio.TaskGroup() as tasks:
                thanked = tasks.create_task(host.expect("{noun}.thanked", timeout=5))
                await host.create("{name}.{model}", customer="ada", item="tea")
            return await host.get("{name}.{model}", thanked.result().subject)

    assert asyncio.run(run()).letter == "letter-17"
'''

# In the texts below a brace of TOML and of JSON is written twice.
WAT_MANIFEST = """\
# What this folder is as a source: a component in WebAssembly, written by hand.
[component]
name = "{name}"
version = "0.1.0"
description = "{title}, each with its price"
models = ["{module}.wat"]  # or the .wasm that a compiler makes

# `aegis sign` adds [component.files], the sha256 of every file: others can check what they get.
"""

WAT = """\
;; version = "0.1.0"  # as in aegis.toml
;; [models.{model}]
;; endpoint = "{name}"
;; fields.grams = {{type = "integer", minimum = 0}}
;; fields.price = {{type = "integer", default = 0}}
;; ports.weigh = {{consumes = ["{noun}.created"], produces = "{noun}.weighed"}}
;; [texts]
;; grams = "grams"
;; price = '{{"record": {{"price": '
;; end = '}}}}'

;; Runs when one was created, with the record as JSON; what it gives is stored. What the text
;; lacks of a module is added: memory, the exports of the contract, and what it calls here.
(func ${model}.weigh (param $input i64) (result i64)
  (call $join
    (call $join
      (global.get $price)
      (call $digits
        (i64.mul (i64.const 2) (call $number (local.get $input) (global.get $grams)))))
    (global.get $end)))
"""

WAT_README = """\
# {title}
A component of Aegis in WebAssembly: `{module}.wat` is its code, `{file}` says what it is.
In a notebook: `%aegis deploy {folder}`, or `%aegis watch {module}.wat` to deploy at every save.
From a shell: `aegis check .` tells what is wrong with it.
In another language: build a .wasm against the contract (`aegis wit` prints it), and name that one.
"""

README = """\
# {title}
A component of Aegis: `{module}.py` is its code, `{file}` says what it is.
In a notebook: `%aegis deploy {folder}`, or `%aegis watch {module}.py` to deploy at every save.
From a shell: `aegis check .` tells what is wrong with it, `pytest` tests it.
Elsewhere it is known by the address of its repository, as `github:OWNER/REPO@^0.1`.
"""

# Names that the text above has already.
_WRITTEN = frozenset({"Console", "Mail", "Model", "Protocol"})


def files(name: str, folder: str, *, is_wat: bool = False) -> Mapping[str, str]:
    """The texts of a new component's files by path, in Python or in text of WebAssembly.

    Raises InvalidError for a name that is none.
    """
    if not NAME.match(name) or name in TAKEN:
        raise InvalidError(
            f"{name!r} is no name for a component",
            hint="lower case letters, digits, - and _, a letter first",
        )
    module = name.replace("-", "_")
    if keyword.iskeyword(module) or module in sys.stdlib_module_names or module == "aegis":
        raise InvalidError(f"{name!r} is a word of Python's own", hint=f"name it {name}-shop")
    words = [word for word in re.split("[-_]", name) if word]
    one = "".join(word.capitalize() for word in words)
    model = one[:-1] if one.endswith("s") and len(one) > 2 else one
    model = f"{model}Item" if model in _WRITTEN else model
    said = {
        "name": name,
        "module": module,
        "model": model,
        "noun": noun(model),
        "title": " ".join(words).capitalize(),
        "file": FILE,
        "folder": folder,
    }
    texts = {
        FILE: MANIFEST,
        f"{module}.py": COMPONENT,
        f"test_{module}.py": TEST,
        "README.md": README,
    }
    if is_wat:
        texts = {FILE: WAT_MANIFEST, f"{module}.wat": WAT, "README.md": WAT_README}
    return {path: text.format_map(said) for path, text in texts.items()}


def write(name: str, folder: Path, *, is_wat: bool = False) -> None:
    """Write a new component into a folder that is new or empty. Raises ConflictError, OSError."""
    texts = files(name, str(folder), is_wat=is_wat)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConflictError(f"there is something in {folder}", hint="--dir says another folder")
    folder.mkdir(parents=True, exist_ok=True)
    for path, text in texts.items():
        (folder / path).write_text(text, encoding="utf-8")

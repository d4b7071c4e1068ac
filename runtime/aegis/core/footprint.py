"""What importing a library does to the whole process: why a second copy of it would be wrong.

Every revision imports libraries for itself, so most can live in any number of versions at a time.
One that registers itself, or changes what others see, is there once for all. That is read from its
text and never run: calls and assignments which happen while a module is imported, and in functions
of the same file that are called then.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

# Calls that register something with the process, by the full name of what is called.
REGISTERS = frozenset(
    {
        "asyncio.set_event_loop_policy",
        "codecs.register",
        "codecs.register_error",
        "copyreg.add_extension",
        "copyreg.pickle",
        "faulthandler.enable",
        "gc.disable",
        "gc.set_threshold",
        "locale.setlocale",
        "logging.basicConfig",
        "logging.setLogRecordFactory",
        "logging.setLoggerClass",
        "mimetypes.add_type",
        "multiprocessing.set_start_method",
        "os.chdir",
        "os.putenv",
        "os.register_at_fork",
        "shutil.register_archive_format",
        "shutil.register_unpack_format",
        "signal.signal",
        "socket.setdefaulttimeout",
        "sys.addaudithook",
        "sys.setprofile",
        "sys.setrecursionlimit",
        "sys.settrace",
        "threading.setprofile",
        "threading.settrace",
        "webbrowser.register",
        "xml.etree.ElementTree.register_namespace",
    }
)
# What everybody in the process shares: whoever changes what is in it reaches all.
SHARED = frozenset({"os.environ", "sys.meta_path", "sys.modules", "sys.path", "sys.path_hooks"})
CHANGES = frozenset(
    {"append", "clear", "extend", "insert", "pop", "popitem", "remove", "setdefault", "update"}
)


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """The first place found where a library reaches the whole process."""

    path: str
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.path}, line {self.line}: {self.what}"


def footprint(files: Mapping[str, bytes]) -> Footprint | None:
    """Where a library of these files reaches the process when it is imported, None where nowhere.

    What cannot be parsed cannot be imported, and does nothing.
    """
    for path in sorted(files):
        if not path.endswith(".py"):
            continue
        try:
            tree = ast.parse(files[path])
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
        for line, what in _Reading(tree).effects():
            return Footprint(path=path, line=line, what=what)
    return None


class _Reading:
    """One file: what its names mean, and what it does while it is imported."""

    def __init__(self, tree: ast.Module) -> None:
        self._tree = tree
        self._modules: dict[str, str] = {}
        self._functions = {
            node.name: node
            for node in tree.body
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    name = alias.name if alias.asname else alias.name.partition(".")[0]
                    self._modules[alias.asname or name] = name
            elif isinstance(node, ast.ImportFrom) and not node.level:
                for alias in node.names:
                    self._modules[alias.asname or alias.name] = f"{node.module}.{alias.name}"

    def effects(self) -> Iterator[tuple[int, str]]:
        """Line and word of each."""
        todo: list[ast.AST] = list(self._tree.body)
        called: set[str] = set()
        while todo:
            node = todo.pop(0)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                todo += node.decorator_list
                continue
            if isinstance(node, ast.Lambda) or _is_main(node):
                continue
            yield from self._effect(node)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                name = node.func.id
                if name in self._functions and name not in called:
                    called.add(name)
                    todo += self._functions[name].body
            todo += ast.iter_child_nodes(node)

    def _effect(self, node: ast.AST) -> Iterator[tuple[int, str]]:
        if isinstance(node, ast.Call):
            name = self._name(node.func)
            owner, _, method = name.rpartition(".")
            if name in REGISTERS or (owner in SHARED and method in CHANGES):
                yield node.lineno, f"{name}()"
            elif name == "setattr" and node.args and self._is_foreign(self._name(node.args[0])):
                yield node.lineno, f"setattr({self._name(node.args[0])}, ...)"
            return
        targets: list[ast.expr] = []
        if isinstance(node, ast.Assign | ast.Delete):
            targets = node.targets
        elif isinstance(node, ast.AugAssign | ast.AnnAssign):
            targets = [node.target]
        for target in targets:
            if isinstance(target, ast.Subscript):
                name = self._name(target.value)
                if name in SHARED and not _is_itself(name, target.slice):
                    yield target.lineno, f"{name}[...] is changed"
            elif isinstance(target, ast.Attribute) and self._is_foreign(self._name(target.value)):
                yield target.lineno, f"{self._name(target)} is replaced"

    def _name(self, node: ast.AST) -> str:
        """The full name of what an expression means, as far as imports tell; empty for others."""
        if isinstance(node, ast.Name):
            return self._modules.get(node.id, node.id if node.id == "setattr" else "")
        if isinstance(node, ast.Attribute):
            owner = self._name(node.value)
            return f"{owner}.{node.attr}" if owner else ""
        return ""

    def _is_foreign(self, name: str) -> bool:
        """Whether `name` is of the standard library, which all share."""
        return name.partition(".")[0] in sys.stdlib_module_names


def _is_itself(name: str, key: ast.expr) -> bool:
    """Whether `sys.modules[__name__]` is meant: a private copy has a name of its own there."""
    return name == "sys.modules" and any(
        isinstance(node, ast.Name) and node.id == "__name__" for node in ast.walk(key)
    )


def _is_main(node: ast.AST) -> bool:
    """Whether it is `if __name__ == "__main__":`, which no import enters."""
    return (
        isinstance(node, ast.If)
        and isinstance(node.test, ast.Compare)
        and isinstance(node.test.left, ast.Name)
        and node.test.left.id == "__name__"
    )

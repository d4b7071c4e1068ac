"""Archives that nobody is trusted to have made are unpacked whole, or refused by name."""

import io
import stat
import warnings
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aegis.core.archive import unpack
from aegis.core.errors import AegisError, SourceError
from aegis.core.wheel import read_wheel
from tests.index import wheel, zipped


def entry(name, *, mode=0, method=zipfile.ZIP_STORED):
    info = zipfile.ZipInfo("placeholder")
    info.filename = name
    info.external_attr = mode << 16
    info.compress_type = method
    return info


def odd(*entries):
    made = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(made, "w") as archive:
        warnings.simplefilter("ignore")  # it warns of a path that is there twice
        for info, content in entries:
            archive.writestr(info, content)
    return made.getvalue()


def test_files_come_by_path_and_folders_are_left_out():
    data = zipped({"a.py": "a", "b/": "", "b/c.txt": b"\0"})
    assert unpack(data, "it") == {"a.py": b"a", "b/c.txt": b"\0"}


HOSTILE = {
    "out of the folder": (odd((entry("../a.py"), "")), "'../a.py' is no path inside"),
    "from the root": (odd((entry("/etc/passwd"), "")), "is no path inside"),
    "a drive": (odd((entry("C:/a.py"), "")), "is no path inside"),
    "a backslash": (odd((entry("a\\..\\b.py"), "")), "is no path inside"),
    "a link": (odd((entry("a", mode=stat.S_IFLNK | 0o777), "/etc/passwd")), "a link or a device"),
    "a device": (odd((entry("a", mode=stat.S_IFCHR), "")), "a link or a device"),
    "a path twice": (odd((entry("a"), "1"), (entry("a"), "2")), "'a' is in the archive twice"),
    "another packing": (odd((entry("a", method=zipfile.ZIP_LZMA), "1")), "a way that is not read"),
    "too much": (odd((entry("a"), bytes(2 << 20)), (entry("b"), bytes(2 << 20))), "than 3 MiB"),
    "packed too well": (
        odd((entry("a", method=zipfile.ZIP_DEFLATED), bytes(2 << 20))),
        "packed more than 200 times",
    ),
    "too many": (zipped({str(n): "" for n in range(11)}), "more than 10 files"),
    "very many": (zipped({str(n): "" for n in range(30)}), "more than 10 files"),
    "no archive": (b"PK", "cannot be read"),
    "nothing": (b"", "cannot be read"),
    "cut off": (zipped({"a": "1" * 99})[:-30], "cannot be read"),
    "damaged": (zipped({"a": "123"}).replace(b"123", b"124", 1), "cannot be read"),
}
HOSTILE["damaged"] = (odd((entry("a"), "12345")).replace(b"12345", b"12346", 1), "cannot be read")
HOSTILE["encrypted"] = (
    odd((entry("a"), "1")).replace(
        b"PK\x01\x02\x14\x03\x14\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01"
    ),
    "'a' is encrypted",
)
HOSTILE["a null byte"] = (odd((entry("abc"), "")).replace(b"abc", b"a\0c"), "is no path inside")


@pytest.mark.parametrize("fault", HOSTILE)
def test_what_would_do_harm_is_refused_by_name(fault):
    data, said = HOSTILE[fault]
    with pytest.raises(SourceError) as refused:
        unpack(data, "it.zip", most=3 << 20, files=10)
    assert said in str(refused.value)
    assert str(refused.value).startswith("it.zip: ")


@given(st.data())
def test_no_bytes_make_it_crash(data):
    whole = wheel("left", "1.0", {"left/__init__.py": "x = 1\n", "left/a.txt": "words"})
    kind = data.draw(st.sampled_from(["any", "cut", "changed", "joined"]))
    if kind == "any":
        content = data.draw(st.binary(max_size=300))
    elif kind == "cut":
        content = whole[: data.draw(st.integers(0, len(whole)))]
    else:
        at = data.draw(st.integers(0, len(whole)))
        part = data.draw(st.binary(min_size=1, max_size=8))
        content = whole[:at] + part + whole[at + (len(part) if kind == "changed" else 0) :]
    try:
        read = read_wheel(content, "it.whl")
    except AegisError:
        return
    assert read.name
    assert (read.modules, read.folders, read.footprint, read.tops) is not None

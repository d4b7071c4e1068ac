"""Percent notebooks (`# %%` in a .py): the same as .ipynb in every way, with the file's lines."""

import httpx
import jupytext
import pytest

from aegis.adapters.sources.notebook import NotebookError
from aegis_kernel.ipynb import code_of, read_cells
from tests.serve.process import NOTES, cell, write

SHOP = '''\
# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # The shop

# %% tags=["parameters"]
rows = 1

# %%
# %%component notes 1.0.0
from aegis import Model

class Note(Model, endpoint="notes"):
    """A note.
# %% is no cell in a text
    """
    text: str = "first"

# %% not for a server tags=["aegis-skip"]
raise SystemError

# %% language="bash"
# echo from a shell

# %%
# %aegis status
for row in range(rows):
    print("row", row)
'''


@pytest.fixture
def percent(serve, tmp_path):
    """Serves a percent notebook of this text."""

    def start(text, *words, name="shop.py"):
        (tmp_path / name).write_text(text)
        return serve(None, *words, name=name)

    return start


def test_it_serves_with_parameters_tags_and_magics(percent):
    serving = percent(SHOP, "--ephemeral", "-p", "rows", "2")
    with serving.ready() as client:
        assert client.post("/aegis/api/models/notes", json={}).json()["text"] == "first"
    assert "row 1\n" in serving.printed
    assert "from a shell" in serving.printed
    assert serving.end() == 0


def test_it_has_the_cells_of_the_ipynb_that_jupytext_makes_of_it(tmp_path):
    (tmp_path / "shop.py").write_text(SHOP)
    jupytext.write(jupytext.read(tmp_path / "shop.py"), tmp_path / "shop.ipynb")
    ours, theirs = read_cells(tmp_path / "shop.py"), read_cells(tmp_path / "shop.ipynb")
    assert [(c.number, c.source, c.tags) for c in ours] == [
        (c.number, c.source, c.tags) for c in theirs
    ]
    assert code_of(ours) == code_of(theirs)


def test_every_cell_knows_its_line_in_the_file(tmp_path):
    (tmp_path / "shop.py").write_text(SHOP)
    lines = SHOP.splitlines()
    assert [lines[c.line - 1] for c in read_cells(tmp_path / "shop.py")] == [
        *("rows = 1", "# %%component notes 1.0.0", "raise SystemError"),
        *('# %% language="bash"', "# %aegis status"),
    ]
    (tmp_path / "bare.py").write_text("x = 1\n#%%\ny = 2\n")
    assert [c.line for c in read_cells(tmp_path / "bare.py")] == [1, 3]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('    print("row", row)', "    row / 0", "cell 5 failed at line 34 of the file: row / 0"),
        ("from aegis import Model", "def f(:", "cell 2 failed at line 17 of the file: def f(:"),
    ],
)
def test_an_error_names_the_cell_and_the_line_of_the_file(percent, old, new, said):
    serving = percent(SHOP.replace(old, new), "--ephemeral")
    assert serving.exit_code() == 1
    assert said in serving.said


def test_its_saves_are_served(percent, tmp_path):
    serving = percent(SHOP, "--ephemeral", "--watch")
    with serving.ready() as client:
        serving.expect("serving .* after")
        # Only text: nothing to run, though all lines move.
        (tmp_path / "shop.py").write_text(SHOP.replace("# # The shop", "# # The shop\n# x\n# y"))
        (tmp_path / "shop.py").write_text(SHOP.replace('"first"', '"second"'))
        serving.expect("is live")
        assert client.post("/aegis/api/models/notes", json={}).json()["text"] == "second"
        (tmp_path / "shop.py").write_text(SHOP.replace("import Model", "import Modle"))
        serving.expect("cell 2 failed at line 17 of the file: from aegis import Modle")
        assert client.post("/aegis/api/models/notes", json={}).json()["text"] == "second"
    assert serving.said.count("is live") == 1
    assert serving.end() == 0


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"__version__ = '1.0.0'\n", "a .py notebook begins its cells with `# %%`"),
        (b"# \xff\n# %%\nx = 1\n", "has no text in the encoding that it says"),
        (b"# %% [markdown]\n# only text\n", "has no component"),
    ],
)
def test_what_is_no_notebook_is_told_in_one_line(percent, tmp_path, content, said):
    (tmp_path / "shop.py").write_bytes(content)
    if said == "has no component":
        assert read_cells(tmp_path / "shop.py") == ()
        return
    with pytest.raises(NotebookError) as refused:
        read_cells(tmp_path / "shop.py")
    assert said in str(refused.value)


def test_both_forms_give_the_same_api(serve, percent, tmp_path):
    cells = [cell(NOTES, id="one"), cell("print('x')", "aegis-skip", id="two")]
    write(tmp_path / "same.ipynb", *cells)
    jupytext.write(jupytext.read(tmp_path / "same.ipynb"), tmp_path / "same.py", fmt="py:percent")
    documents = []
    for name in ("same.ipynb", "same.py"):
        serving = serve(None, "--ephemeral", "--no-token", name=name)
        with serving.ready() as client:
            serving.expect("serving .* after")
            documents.append(httpx.get(f"{client.base_url}/aegis/api/openapi.json").json())
            documents[-1].pop("servers", None)
        assert serving.end() == 0
    assert documents[0] == documents[1]

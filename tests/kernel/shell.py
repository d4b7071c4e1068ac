"""An IPython shell of this process with a host, and what its last cell came to."""

import pytest
from traitlets.config import Config as Traits

from aegis.core.errors import ComponentError
from aegis_kernel.headless import HeadlessShell
from aegis_kernel.hosting import HostThread
from aegis_kernel.notebook import Notebook


class Session:
    """A shell with a host, and what its last cell came to."""

    def __init__(self):
        traits = Traits()
        traits.HistoryManager.enabled = False
        traits.InteractiveShell.colors = "nocolor"
        self.shell = HeadlessShell(config=traits)
        self.notebook = Notebook(self.shell, HostThread())
        self.notebook.attach()
        self.notebook.start(ephemeral=True)

    def run(self, cell):
        """What the cell's last line gives; its error is raised."""
        self.shell.last_traceback = ""
        result = self.shell.run_cell(cell, store_history=True)
        result.raise_error()
        return result.result

    def fails(self, cell, kind=ComponentError):
        """The error of a cell, and the traceback it shows."""
        with pytest.raises(kind) as caught:
            self.run(cell)
        return caught.value, self.shell.last_traceback

    def close(self):
        self.notebook.detach()
        assert self.notebook.thread.close()

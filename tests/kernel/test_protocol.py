"""Jupyter's own conformance suite: the kernel is a complete IPython kernel."""

import jupyter_kernel_test
import pytest


@pytest.fixture(scope="module", autouse=True)
def keep_nothing():
    """These kernels belong to no notebook."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AEGIS_EPHEMERAL", "1")
        yield


class TestProtocol(jupyter_kernel_test.KernelTests):
    kernel_name = "aegis"
    language_name = "python"
    file_extension = ".py"
    code_hello_world = "print('hello, world')"
    code_stderr = "import sys; print('oops', file=sys.stderr)"
    completion_samples = [{"text": "zi", "matches": {"zip"}}]  # noqa: RUF012
    complete_code_samples = ["1", "def f(x):\n  return x*2\n\n\n"]  # noqa: RUF012
    incomplete_code_samples = ["def f(x):", "'''"]  # noqa: RUF012
    invalid_code_samples = ["import = 7q"]  # noqa: RUF012
    code_page_something = "zip?"
    code_generate_error = "raise ValueError('wrong')"
    code_execute_result = [{"code": "6*7", "result": "42"}]  # noqa: RUF012
    code_display_data = [  # noqa: RUF012
        {
            "code": "from IPython.display import HTML, display; display(HTML('<b>x</b>'))",
            "mime": "text/html",
        }
    ]
    # Searching the history fails on IPython's own kernel too since IPython 9.
    supported_history_operations = ("tail",)
    code_history_pattern = "1?2*"
    code_inspect_sample = "zip"
    code_clear_output = "from IPython.display import clear_output; clear_output()"

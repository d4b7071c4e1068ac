"""Start the kernel, as the kernelspec does: `python -m aegis_kernel -f connection.json`."""

import gc

from ipykernel.kernelapp import IPKernelApp

from aegis_kernel.kernel import AegisKernel


class AegisKernelApp(IPKernelApp):
    """IPython's kernel with a host of Aegis; `--help-all` shows its settings too."""

    classes = [*IPKernelApp.classes, AegisKernel]  # noqa: RUF012 -- traitlets has it so


if __name__ == "__main__":
    # Nothing that is made while it starts is garbage: until it has (`AegisKernel.start`) the
    # collector would only look at all of it, again and again.
    gc.disable()
    AegisKernelApp.launch_instance(kernel_class=AegisKernel)

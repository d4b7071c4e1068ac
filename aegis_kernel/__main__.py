"""Start the kernel, as the kernelspec does: `python -m aegis_kernel -f connection.json`."""

from ipykernel.kernelapp import IPKernelApp

from aegis_kernel.kernel import AegisKernel

if __name__ == "__main__":
    IPKernelApp.launch_instance(kernel_class=AegisKernel)

"""`python -m aegis.cli` is the command `aegis`."""

from aegis.cli import main

main()

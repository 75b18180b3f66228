"""`python -m lightning_esp`: the command `lightning-esp`."""

import sys

from lightning_esp.cli import main

if __name__ == "__main__":
    sys.exit(main())

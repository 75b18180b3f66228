"""The command `lightning-esp`."""

from lightning_esp.cli.main import main

__all__ = ["main"]

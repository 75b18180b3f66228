"""`lightning-esp new`: a project to start from."""


def add_commands(commands: object) -> None:
    """Add the parser to the subparsers of `lightning-esp`."""

"""The command `pack`: one container file of a bundle's model, for firmware that takes models without a new app."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from lightning_esp.cli.arguments import write_file


def add_commands(commands: Any) -> None:
    """Add the parser of this command to the subparsers of `lightning-esp`."""
    pack = commands.add_parser(
        "pack",
        help="write the model of a bundle as one file",
        description="Writes everything that the firmware knows of a model as one file, which a firmware built with MODEL=update "
        "takes at run time: tensors, labels, front end, detector, the .espdl files, and golden windows for its self-test.",
    )
    pack.add_argument("bundle", type=Path, help="directory of a bundle")
    pack.add_argument("--target", metavar="CHIP", help="default: the only one, or the first")
    pack.add_argument("-o", "--output", type=Path, metavar="FILE", help="default: in the bundle, NAME-CHIP.lesp")
    pack.set_defaults(run=run_pack)


def run_pack(options: argparse.Namespace) -> int:
    """Write the file, read it back, and print its path, size and CRC32."""
    from lightning_esp.bundle import pack_image, read_bundle, read_image

    bundle = read_bundle(options.bundle)
    data = pack_image(bundle, options.target)
    image = read_image(data)
    default = bundle.path / f"{image.name}-{image.target}.lesp"
    path = write_file("--output", options.output or default, data)
    print(f"{path}: {image.name} for {image.target}, {len(data)} bytes, CRC32 {image.crc:08x}")
    return 0

"""`lightning-esp export`: a bundle from a checkpoint, after the run."""

from __future__ import annotations

import argparse
import importlib
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lightning_esp.chips import TARGETS
from lightning_esp.config import Budget, Calibration, Deployment, Detector, Quantization, Streaming
from lightning_esp.errors import LightningEspError, StepError

_OPTIONS = ("target", "output_dir", "module", "streaming", "calibration", "quantization", "deployment")


def split_script(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split the arguments of a script, which stand behind `--`, from those of `export`."""
    given = list(arguments)
    if given[:1] != ["export"] or "--" not in given:
        return given, []
    return given[: given.index("--")], given[given.index("--") + 1 :]


def add_commands(commands: Any) -> None:
    """Add the parser to the subparsers of `lightning-esp`."""
    export = commands.add_parser(
        "export",
        help="make a bundle from a checkpoint",
        description="Exports a checkpoint as the callback would have done at the end of the run, with the options of the run's "
        "config.yaml, or of the EspStreamingExport of the script; for another chip or precision where these are given. The recipe "
        "may be any script that trains with Lightning: it is run up to its fit, which does not start, so name one that you trust. "
        "Of the checkpoint only weights and plain values are read; where it holds other objects, which run code when they are "
        "read, you are asked.",
        usage="lightning-esp export [options] --recipe RECIPE CHECKPOINT [-- ARGUMENTS OF THE RECIPE]",
    )
    export.add_argument("checkpoint", type=Path, help="a .ckpt file of Lightning")
    export.add_argument("--recipe", type=Path, required=True, help="the Python file that trained it; it is executed")
    export.add_argument("--output", type=Path, help="directory of the bundle; default: that of the run")
    export.add_argument("--target", action="append", choices=TARGETS, help="which chip; may be given several times")
    export.add_argument("--precision", choices=("int8", "int16", "auto"), help="instead of the run's")
    export.add_argument("--trust", action="store_true", help="read all objects of the checkpoint, which may run code")
    export.set_defaults(run=run_export)


def run_export(options: argparse.Namespace) -> int:
    """Export, and print where the bundle is."""
    from lightning_esp.callback import EspStreamingExport
    from lightning_esp.training import package_of, read_run

    run = read_run(options.checkpoint, options.recipe, options.script, lambda reason: options.trust or _ask(reason))
    own = next((callback for callback in run.callbacks if isinstance(callback, EspStreamingExport)), None)
    arguments = read_options(run.options) if own is None else {name: getattr(own, name) for name in _OPTIONS}
    if options.precision is not None:
        arguments["quantization"] = replace(arguments["quantization"], precision=options.precision)
    arguments |= {"target": options.target} if options.target else {}
    output = options.output or arguments.get("output_dir") or options.checkpoint.parent.parent / "esp_bundle"
    lightning = importlib.import_module(package_of(run.module))
    trainer = lightning.Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_model_summary=False, devices=1
    )
    # The checkpoint holds the weights; the trainer has none of its own to choose from.
    callback = EspStreamingExport(**{**arguments, "output_dir": output, "weights": "last"})
    try:
        bundle = callback.export(trainer, run.module, run.datamodule)
    except LightningEspError:
        raise
    except Exception as error:
        place = _find_line(error, options.recipe.resolve().parent)
        if place is None:
            raise
        raise StepError(
            f"{place} failed: {type(error).__name__}: {error}. Run the recipe by itself to see more."
        ) from error
    assert bundle is not None
    print(bundle.path)
    return 0


def _ask(reason: str) -> bool:
    """Ask whoever sits there; nobody says no."""
    if not (sys.stdin and sys.stdin.isatty()):
        return False
    print(f"{reason}. Read it all the same? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _find_line(error: Exception, folder: Path) -> str | None:
    """Return the line of the user's files that raised an error; None where it did not pass through them."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [f"{frame.filename}, line {frame.lineno}," for frame in frames if Path(frame.filename).parent == folder]
    return lines[-1] if lines else None


def read_options(values: Mapping[str, Any]) -> dict[str, Any]:
    """Make arguments of `EspStreamingExport` from the `export` of a `config.yaml`."""
    arguments = {name: value for name, value in values.items() if name in ("target", "output_dir", "module")}
    quantization = dict(values.get("quantization", {}))
    if "int16" in quantization:
        quantization["int16"] = tuple(quantization["int16"])
    deployment = dict(values.get("deployment", {}))
    for name, kind in (("budget", Budget), ("detector", Detector)):
        if deployment.get(name) is not None:
            deployment[name] = kind(**deployment[name])
    if deployment.get("labels") is not None:
        deployment["labels"] = tuple(deployment["labels"])
    return {
        **arguments,
        "streaming": Streaming(**values.get("streaming", {})),
        "calibration": Calibration(**values.get("calibration", {})),
        "quantization": Quantization(**quantization),
        "deployment": Deployment(**deployment),
    }

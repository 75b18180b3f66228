"""The names that users import. To change this list is to change what the package promises."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import lightning_esp

NAMES = {
    "lightning_esp": [
        "Budget",
        "Bundle",
        "Calibration",
        "CalibrationSet",
        "Deployment",
        "Detector",
        "EspQuantAwareTraining",
        "EspStreamingExport",
        "Quantization",
        "QuantizedModel",
        "Simulation",
        "Streaming",
        "StreamingModel",
        "Verification",
        "calibrate",
        "convert",
        "export",
        "quantize",
        "read_bundle",
        "simulate",
        "verify",
        "verify_bundle",
        "write_bundle",
    ],
}


@pytest.mark.parametrize("name", NAMES)
def test_the_exported_names_are_these_and_sorted(name: str) -> None:
    module = importlib.import_module(name)
    assert module.__all__ == NAMES[name]
    assert all(hasattr(module, exported) for exported in module.__all__)


def test_a_shell_completes_every_name_in_a_package_that_has_loaded_nothing() -> None:
    program = "import sys, lightning_esp; print(*dir(lightning_esp)); print('torch' in sys.modules); "
    program += "print(lightning_esp.frontend.LogMel.__name__, hasattr(lightning_esp, 'absent'))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    names, loaded, modules = done.stdout.splitlines()
    assert {*lightning_esp.__all__, "__version__"} <= set(names.split())
    assert loaded == "False"
    assert modules == "LogMel False"


def test_no_module_takes_the_place_of_a_name() -> None:
    # Importing a module binds it in its package, whatever else has that name there.
    modules = {path.stem for path in Path(lightning_esp.__file__).parent.iterdir()}
    assert modules & set(lightning_esp.__all__) == set()


def test_the_version_is_that_of_the_package() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", lightning_esp.__version__)


@pytest.mark.parametrize("name", lightning_esp.__all__)
def test_a_public_name_says_what_it_is(name: str) -> None:
    exported = getattr(lightning_esp, name)
    assert exported.__module__.startswith("lightning_esp.")
    assert exported.__doc__
    # A dataclass without a docstring gets its signature for one.
    assert not exported.__doc__.startswith(f"{name}(")


def test_every_exception_stands_in_the_tree_of_its_module() -> None:
    from lightning_esp import errors

    tree = errors.__doc__ or ""
    drawn = [line.split()[0] for line in (part.lstrip("│├└─ ") for part in tree.splitlines()) if line]
    defined = [name for name, value in vars(errors).items() if isinstance(value, type)]
    assert [name for name in defined if name not in drawn] == []
    assert issubclass(errors.ConfigurationError, ValueError)

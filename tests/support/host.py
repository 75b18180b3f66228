"""Needs of host builds, and a model for them."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest

from tests.bundle import handmade

COMPILER = shutil.which("c++") or shutil.which("g++")


needs_cmake = pytest.mark.skipif(
    COMPILER is None or shutil.which("cmake") is None, reason="needs cmake and a C++20 compiler"
)


def silent_ends() -> handmade.Result:
    """A model whose output trails by a frame; its recordings end in a window of zeros, as those of an export do."""
    quantized, verification = handmade.one_stage()
    golden = verification.golden
    ends = [reset - 1 for reset in (*golden.resets[1:], golden.windows)]
    inputs = {name: values.copy() for name, values in golden.inputs.items()}
    for values in inputs.values():
        values[ends] = 0
    return quantized, replace(verification, golden=replace(golden, inputs=inputs))

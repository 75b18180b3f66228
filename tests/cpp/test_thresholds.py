"""Thresholds that a user sets: kept in NVS, taken over by the detector, and refused in words where they are none."""

from __future__ import annotations

from tests.cpp.compile import compile_program, needs_compiler, run_program

SOURCES = [
    "threshold_units.cpp",
    "fake_flash.cpp",
    "lesp_detector_settings/src/commands.cpp",
    "lesp_detector_settings/src/thresholds.cpp",
    "lesp_streaming/src/golden.cpp",
]


@needs_compiler
def test_thresholds_are_kept_and_checked(tmp_path):
    program = compile_program(tmp_path / "program", SOURCES, ["lesp_detector_settings", "lesp_streaming"])
    printed = run_program(program)
    assert printed.endswith("PASS thresholds\n")
    assert "> threshold stop 0.75 \nstop 0.75, set\n" in printed
    assert (
        "> threshold \ngo never, set\nstop 0.75, set\n_silence_ never\n> threshold stop \nstop 0.75, set\n" in printed
    )
    assert '> threshold halt 0.5 \nThe model has no class "halt", only: go stop _silence_\n' in printed
    assert "> threshold stop 1.5 \nA threshold of 1.5 is none: scores go from 0 to 1.\n" in printed
    assert '> threshold stop nan \n"nan" is no number; a threshold is one, or never, or default.\n' in printed
    assert '> sensitivity most \nA sensitivity is low, normal or high, not "most".\n' in printed
    assert printed.count("The setting was not kept") == 2  # before the start, and without power
    kept = "The setting is kept and counts from the next start on; nothing listens now.\n"
    assert f"> threshold stop 0.25 \n{kept}stop 0.25, set\n" in printed

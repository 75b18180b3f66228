"""The self-test by pytest-embedded that a bundle brings, with a device that prints what the test lets it print."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from types import ModuleType
from typing import Any

import pytest

from tests.cpp.host_build import PROJECT

SCRIPT = PROJECT / "pytest_bundle.py"


class Device:
    """`expect` as pexpect has it, on text that is there already."""

    def __init__(self, text: bytes) -> None:
        self.text = text

    def expect(self, pattern: Any, timeout: float) -> Any:
        found = pattern.search(self.text)
        if found is None:
            raise TimeoutError(timeout)
        return found


@pytest.fixture
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("pytest_bundle", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_is_collected_and_asks_for_the_device():
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-c", "/dev/null", "--rootdir", str(PROJECT)]
    done = subprocess.run([*command, str(SCRIPT)], capture_output=True, text=True)
    assert "fixture 'dut' not found" in done.stdout, done.stdout + done.stderr
    assert "1 error" in done.stdout


def test_the_last_line_decides(script):
    stages = b"stage stage_0: 201 of 201 windows, 0 differ\r\n"
    script.test_golden_data(Device(stages + b"PASS 201 windows\r\n"))
    with pytest.raises(AssertionError, match="FAIL 201 windows: stages differ from the host"):
        script.test_golden_data(Device(stages + b"FAIL 201 windows: stages differ from the host\r\n"))
    with pytest.raises(AssertionError, match="FAIL ESP_ERR_NO_MEM"):
        script.test_golden_data(Device(b"FAIL ESP_ERR_NO_MEM\r\n"))
    with pytest.raises(TimeoutError):
        script.test_golden_data(Device(b"Guru Meditation Error\r\n"))


def test_a_bundle_without_golden_windows_is_skipped_and_not_passed(script):
    with pytest.raises(pytest.skip.Exception, match="nothing was compared"):
        script.test_golden_data(Device(b"This bundle holds no golden windows.\r\n"))

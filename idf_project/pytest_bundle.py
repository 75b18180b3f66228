# SPDX-FileCopyrightText: The lightning_esp maintainers
# SPDX-License-Identifier: Apache-2.0
r"""The self-test of this bundle on a board, by pytest-embedded.

    pip install pytest-embedded-idf pytest-embedded-serial-esp
    idf.py set-target esp32s3 && idf.py build
    pytest --embedded-services esp,idf --target esp32s3 pytest_bundle.py

Or without a board, in Espressif's QEMU (pip install pytest-embedded-idf pytest-embedded-qemu; python
$IDF_PATH/tools/idf_tools.py install qemu-riscv32 qemu-xtensa):

    idf.py set-target esp32c3 && idf.py build
    pytest --embedded-services idf,qemu --target esp32c3 --qemu-prog-path qemu-system-riscv32 \
        --qemu-cli-args="-nographic -machine esp32c3" pytest_bundle.py

    idf.py set-target esp32 && idf.py build
    pytest --embedded-services idf,qemu --target esp32 --qemu-prog-path qemu-system-xtensa \
        --qemu-cli-args="-nographic -machine esp32" pytest_bundle.py

    idf.py -D PSRAM=none set-target esp32s3 && idf.py build
    pytest --embedded-services idf,qemu --target esp32s3 --qemu-prog-path qemu-system-xtensa \
        --qemu-cli-args="-nographic -machine esp32s3" pytest_bundle.py

The last needs a QEMU that knows the vector instructions of the ESP32-S3, which ESP-DL's kernels are made of. ESP-IDF's linux
target cannot run it: ESP-DL lists chips only. The firmware must be built with the source "replay", as it is by default.
"""

from __future__ import annotations

import re
from typing import Any

import pytest

VERDICT = re.compile(rb"PASS \d+ windows|FAIL [^\r\n]*|holds no golden windows")
SECONDS = 600  # QEMU takes its time


def test_golden_data(dut: Any) -> None:
    """Every stage repeats the golden windows, and neither the front end nor the detector differs."""
    verdict = dut.expect(VERDICT, timeout=SECONDS).group(0).decode()
    if verdict.startswith("holds"):
        pytest.skip("the bundle holds no golden windows, so nothing was compared; export with Deployment(golden=True)")
    assert verdict.startswith("PASS"), verdict

"""The versions that this package was measured with, in one place, and a check of those that run."""

from __future__ import annotations

import sys
from importlib.metadata import version

from lightning_esp.errors import EnvironmentMismatchError

ESP_PPQ = "1.3.12"
# Pinned in idf_project/main/idf_component.yml.
ESP_DL = "3.3.9"
ESP_IDF = ">=5.3"


def check_versions() -> None:
    """Check that Python is one that esp-ppq supports, and esp-ppq the one whose file format and traps were measured.

    Raises:
        EnvironmentMismatchError: one of them is another.
    """
    if not (3, 10) <= sys.version_info[:2] < (3, 13):
        raise EnvironmentMismatchError(
            f"Python {sys.version_info[0]}.{sys.version_info[1]} runs, but esp-ppq supports 3.10 to 3.12; make an "
            "environment with one of these."
        )
    found = version("esp-ppq")
    if found != ESP_PPQ:
        raise EnvironmentMismatchError(
            f"esp-ppq {found} is installed, but this package works with {ESP_PPQ}: operators and file format differ. "
            f"Run: pip install esp-ppq=={ESP_PPQ}"
        )

"""The flatbuffers schema classes of `.espdl` files, taken from the esp-ppq distribution.

esp-ppq ships the classes that `flatc` generated from ESP-DL's schema. Importing them through `esp_ppq.parser` would
run esp-ppq's own `__init__` (a banner on the terminal, 0.7 s), and the classes import one another by the absolute name
`FlatBuffers`. So the package directory is located without importing esp-ppq, and is registered under that name: the
same files and the same name that esp-ppq itself uses, whichever of the two comes first.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from functools import cache
from pathlib import Path
from typing import Any

from lightning_esp.errors import EnvironmentMismatchError
from lightning_esp.versions import ESP_PPQ

_PACKAGE = "FlatBuffers"


def _find_package() -> Path:
    spec = importlib.util.find_spec("esp_ppq")
    roots = spec.submodule_search_locations if spec is not None else None
    for root in roots or ():
        package = Path(root) / "parser" / "espdl" / _PACKAGE / "__init__.py"
        if package.is_file():
            return package
    raise EnvironmentMismatchError(
        "esp-ppq: its flatbuffers schema classes (parser/espdl/FlatBuffers) were not found; they are needed to read "
        f"`.espdl` files. Install the release this package is built for: pip install esp-ppq=={ESP_PPQ}"
    )


def _register_package() -> None:
    if _PACKAGE in sys.modules:
        return
    location = _find_package()
    spec = importlib.util.spec_from_file_location(_PACKAGE, location, submodule_search_locations=[str(location.parent)])
    assert spec is not None
    assert spec.loader is not None
    package = importlib.util.module_from_spec(spec)
    sys.modules[_PACKAGE] = package
    spec.loader.exec_module(package)


@cache
def schema_class(name: str) -> Any:
    """Return one generated class of the schema.

    Args:
        name: The table's name, such as `"Model"` or `"TensorTypeAndShape"`.

    Returns:
        The class; `Model` has `GetRootAs(bytes, offset)`.

    Raises:
        EnvironmentMismatchError: esp-ppq is not installed, or its schema classes are not where `ESP_PPQ` keeps them.
    """
    _register_package()
    return getattr(importlib.import_module(f"{_PACKAGE}.Dl.{name}"), name)

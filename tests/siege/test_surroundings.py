"""Where and how an export is called does not matter: the same bytes everywhere."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
import torch

from tests.siege.small import export_net

SCRIPT = """
import sys
from pathlib import Path
from tests.siege.small import export_net

export_net(Path(sys.argv[1]))
"""


def contents(place: Path) -> dict[str, bytes]:
    return {
        path.relative_to(place).as_posix(): path.read_bytes() for path in sorted(place.rglob("*")) if path.is_file()
    }


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return contents(export_net(tmp_path_factory.mktemp("plain") / "fw").path)


@contextmanager
def default_float64() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize(
    "around",
    [torch.inference_mode, torch.no_grad, lambda: torch.autocast("cpu", torch.bfloat16), default_float64],
    ids=["inference_mode", "no_grad", "autocast", "float64 by default"],
)
def test_a_mode_of_torch_does_not_matter(
    plain: dict[str, bytes], tmp_path: Path, around: Callable[[], AbstractContextManager[object]]
) -> None:
    with around():
        bundle = export_net(tmp_path / "fw")
    assert contents(bundle.path) == plain


ENVIRONMENTS: dict[str, dict[str, str]] = {
    "C locale": {"LC_ALL": "C", "PYTHONUTF8": "0"},
    "Turkish": {"LC_ALL": "tr_TR.UTF-8", "LANG": "tr_TR.UTF-8"},
    "another time zone": {"TZ": "Pacific/Kiritimati"},
    "no home": {"HOME": "/nonexistent"},
    "hash seed": {"PYTHONHASHSEED": "12345"},
    "no asserts": {"PYTHONOPTIMIZE": "2"},
    "unbuffered": {"PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"},
    "two threads": {"OMP_NUM_THREADS": "2"},
    "development mode": {"PYTHONDEVMODE": "1"},
    "no colours": {"NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "20"},
    "a year of builds": {"SOURCE_DATE_EPOCH": "0"},
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name == "Turkish" else pytest.mark.full) for name in ENVIRONMENTS]
)
def test_the_environment_does_not_matter(plain: dict[str, bytes], tmp_path: Path, name: str) -> None:
    # Nobody names folders for the convenience of programs.
    place, temporary = tmp_path / "mein Gerät" / "fw ½", tmp_path / "tmp ü"
    temporary.mkdir()
    settings = {"TMPDIR": str(temporary), "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **settings, **ENVIRONMENTS[name]}
    command = [sys.executable, "-c", SCRIPT, str(place)]
    done = subprocess.run(command, env=environment, capture_output=True, cwd=Path(__file__).parents[2], check=False)
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    assert contents(place) == plain
    assert [*temporary.iterdir()] == []

"""What an installation holds."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DIRECTORIES = ("lightning_esp", "idf_project")


def git(*arguments: str, cwd: Path = ROOT) -> str:
    return subprocess.run(["git", *arguments], cwd=cwd, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from a clean checkout, with what is installed, without a look at the network."""
    if not (ROOT / ".git").exists():
        pytest.skip("a clean checkout needs a git repository")
    folder = tmp_path_factory.mktemp("wheel")
    git("clone", "--quiet", "--shared", "--no-hardlinks", str(ROOT), str(folder / "checkout"))
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder / "dist")]
    done = subprocess.run(build, cwd=folder / "checkout", capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = (folder / "dist").iterdir()
    return built


def test_it_holds_exactly_the_tracked_files(wheel: Path) -> None:
    tracked = git("ls-tree", "-r", "-z", "--name-only", "HEAD", *DIRECTORIES).rstrip("\0").split("\0")
    with zipfile.ZipFile(wheel) as archive:
        held = [name for name in archive.namelist() if ".dist-info/" not in name]
    assert {name.split("/")[0] for name in tracked} == set(DIRECTORIES)
    assert sorted(held) == sorted(tracked)


def test_the_files_are_the_tracked_ones_byte_by_byte(wheel: Path) -> None:
    checkout = wheel.parents[1] / "checkout"
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if ".dist-info/" not in name]
        assert [name for name in names if archive.read(name) != (checkout / name).read_bytes()] == []


def test_an_installed_package_finds_its_project_and_its_types(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    program = (
        "import lightning_esp, pathlib\n"
        "from lightning_esp.bundle.writer import read_project\n"
        "print(pathlib.Path(lightning_esp.__file__).parents[1])\n"
        "print(*read_project(), sep='\\n')\n"
    )
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    place, *files = done.stdout.splitlines()
    assert Path(place) == tmp_path
    assert "main/app_main.cpp" in files
    assert (tmp_path / "lightning_esp" / "py.typed").is_file()

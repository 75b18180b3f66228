"""What an installation holds."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

import lightning_esp

ROOT = Path(__file__).parents[1]
DIRECTORIES = ("lightning_esp", "idf_project", "recipes")


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


def place(tracked: str) -> str:
    """Where a file of the repository lies in the wheel: nothing outside the package."""
    return tracked if tracked.startswith("lightning_esp/") else f"lightning_esp/{tracked}"


def test_it_holds_exactly_the_tracked_files_byte_by_byte(wheel: Path) -> None:
    tracked = git("ls-tree", "-r", "-z", "--name-only", "HEAD", *DIRECTORIES).rstrip("\0").split("\0")
    assert {name.split("/")[0] for name in tracked} == set(DIRECTORIES)
    checkout = wheel.parents[1] / "checkout"
    with zipfile.ZipFile(wheel) as archive:
        held = [name for name in archive.namelist() if ".dist-info/" not in name]
        assert sorted(held) == sorted(map(place, tracked))
        assert [name for name in tracked if archive.read(place(name)) != (checkout / name).read_bytes()] == []


def test_an_editable_install_can_be_built(wheel: Path) -> None:
    """`make install` makes one, and hatchling refuses to where folders move in the wheel."""
    build = [
        sys.executable,
        "-c",
        "import sys; from hatchling.build import build_editable; build_editable(sys.argv[1])",
    ]
    folder = wheel.parent / "editable"
    folder.mkdir()
    done = subprocess.run([*build, str(folder)], cwd=wheel.parents[1] / "checkout", capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(*folder.glob("*.whl")) as archive:
        (path,) = [name for name in archive.namelist() if name.endswith(".pth")]
        assert archive.read(path).decode().strip() == str(wheel.parents[1] / "checkout")


def test_it_says_who_made_it_for_whom_and_which_it_is(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        told = Parser().parsestr(archive.read(name).decode())
    assert told["Version"] == lightning_esp.__version__
    assert told["Author"]
    assert len(told.get_all("Project-URL", [])) >= 2
    assert "Typing :: Typed" in told.get_all("Classifier", [])
    needed = [line.replace('"', "'") for line in told.get_all("Requires-Dist", [])]
    audio = [line for line in needed if re.match(r"torchaudio\b", line)]
    assert any("extra == 'recipes'" in line for line in audio)
    assert all("extra ==" in line for line in audio), "what is exported without recipes needs none"
    (torch,) = [line for line in needed if re.match(r"torch\b(?!-)", line) and "extra" not in line]
    assert re.search(r"<2\.\d+", torch)


def test_an_installed_package_finds_its_project_and_its_types(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    program = (
        "import lightning_esp, pathlib\n"
        "from lightning_esp.bundle.writer import read_project\n"
        "from lightning_esp.cli import main\n"
        "main(['new', 'sensor', 'made'])\n"
        "print(pathlib.Path(lightning_esp.__file__).parents[1])\n"
        "print(*read_project(), sep='\\n')\n"
    )
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    _, root, *files = done.stdout.splitlines()
    assert Path(root) == tmp_path
    assert (tmp_path / "made" / "sensor_tcn.py").is_file()
    assert "main/app_main.cpp" in files
    assert (tmp_path / "lightning_esp" / "py.typed").is_file()

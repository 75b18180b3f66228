"""How the command starts and ends: quickly, in one line, with 2 for usage and 1 for failure."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import lightning_esp
from lightning_esp import Bundle
from lightning_esp.cli import main

ROOT = Path(__file__).parents[2]


def run(command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a shell command in which `lightning-esp` is the command of this checkout."""
    ours = f"{sys.executable} -m lightning_esp"
    values = os.environ | {"PYTHONPATH": str(ROOT)} | environment
    shell = ["bash", "-c", f"set -o pipefail; {command.replace('lightning-esp', ours)}"]
    return subprocess.run(shell, env=values, capture_output=True, text=True, check=False)


def test_the_help_waits_for_no_library() -> None:
    program = (
        "import sys\nfrom lightning_esp.cli import main\ntry:\n    main(['simulate', '--help'])\nexcept SystemExit:\n"
        "    print(sorted({'torch', 'numpy', 'pytorch_lightning', 'onnx', 'soundfile', 'tqdm'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


def test_it_runs_as_a_module_and_tells_its_version() -> None:
    done = run("lightning-esp --version")
    assert (done.returncode, done.stdout) == (0, f"lightning-esp {lightning_esp.__version__}\n")


@pytest.mark.parametrize(
    ("command", "code", "printed"),
    [
        ("lightning-esp --help | (exit 0)", 1, ""),
        (
            "lightning-esp --help > /dev/full",
            1,
            "lightning-esp: the output cannot be written (No space left on device).\n",
        ),
        ("lightning-esp inspect absent.espdl 2> /dev/full", 1, ""),
    ],
)
def test_an_output_that_ends_early_is_no_traceback(command: str, code: int, printed: str) -> None:
    for unbuffered in ("", "1"):
        done = run(command, PYTHONUNBUFFERED=unbuffered)
        assert (done.returncode, done.stderr) == (code, printed)


def test_names_that_the_terminal_cannot_show_are_escaped() -> None:
    done = run("lightning-esp inspect größe.espdl", PYTHONIOENCODING="ascii", PYTHONUTF8="1")
    assert done.returncode == 1
    assert "gr\\xf6\\xdfe.espdl cannot be read" in done.stderr


def test_ctrl_c_is_no_traceback(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt(_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("lightning_esp.cli.bundles.run_inspect", interrupt)
    assert main(["inspect", "a.espdl"]) == 130
    assert capsys.readouterr().err == "lightning-esp: interrupted.\n"


@pytest.mark.parametrize("value", ["-2", "0", "nan", "inf", "soon"])
def test_a_wrong_time_is_a_usage_error(value: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["simulate", "bundle", "--microphone", value])
    assert caught.value.code == 2
    assert f"argument --microphone: {value!r} must be a positive number of seconds" in capsys.readouterr().err


def test_files_go_into_folders_that_are_made(
    bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    for wrong in (tmp_path, tmp_path / "file" / "page.html"):
        for command in (["report", str(bundle.path), "--output"], ["simulate", str(bundle.path), "a.wav", "--plot"]):
            assert main([*command, str(wrong)]) == 2
            captured = capsys.readouterr().err
            assert f"{command[-1]} {wrong}" in captured
            assert captured.count("\n") == 1


def test_the_page_lies_beside_the_bundle_under_its_whole_name(
    bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "kws.v2").symlink_to(bundle.path)
    assert main(["report", str(tmp_path / "kws.v2")]) == 0
    assert Path(capsys.readouterr().out.strip()).name == f"{bundle.path.name}.html"

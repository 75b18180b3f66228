"""The worker process: it answers, raises what was raised there, and its death is an exception here."""

import io
import os
import signal
import tempfile
import time
from pathlib import Path

import pytest

from lightning_esp.errors import QuantizationError
from lightning_esp.quantization import Worker, process
from lightning_esp.quantization.process import launch, receive, send


@pytest.fixture(autouse=True)
def _started_not_forked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start real processes here; `launch` was imported before the other tests had theirs forked."""
    monkeypatch.setattr(process, "launch", launch)


def test_messages_arrive_whole() -> None:
    stream = io.BytesIO()
    send(stream, {"a": bytes(100_000)})
    send(stream, "second")
    stream.seek(0)
    assert receive(stream) == {"a": bytes(100_000)}
    assert receive(stream) == "second"
    with pytest.raises(EOFError, match="the other process has ended"):
        receive(stream)


def test_an_exception_in_the_worker_is_raised_here_and_the_worker_lives(worker: Worker) -> None:
    for _ in range(2):
        with pytest.raises(QuantizationError, match="esp-ppq failed in quantize: AttributeError: 'int'"):
            worker.call("quantize", 3)


def test_a_function_that_is_not_there_is_an_error(worker: Worker) -> None:
    with pytest.raises(QuantizationError, match="esp-ppq failed in fly: AttributeError"):
        worker.call("fly")


def test_the_death_of_the_worker_is_an_exception() -> None:
    with Worker() as dying:
        os.kill(dying._process.pid, signal.SIGKILL)
        with pytest.raises(QuantizationError, match="the esp-ppq process ended while it ran quantize"):
            dying.call("quantize", 3)


def test_a_message_that_was_never_read_does_not_hinder_the_end() -> None:
    with Worker() as dying:
        os.kill(dying._process.pid, signal.SIGKILL)
        dying._process.wait()
        with pytest.raises(QuantizationError, match="the esp-ppq process ended while it ran quantize"):
            dying.call("quantize", bytes(8))
        assert dying._process.stdin is not None
        assert not dying._process.stdin.closed
    assert dying._process.stdin.closed


def test_a_talkative_process_is_not_stopped_by_its_own_talk(monkeypatch: pytest.MonkeyPatch) -> None:
    # A line for every module that is imported: more than a pipe holds.
    monkeypatch.setenv("PYTHONPROFILEIMPORTTIME", "1")
    with Worker() as talking:
        with pytest.raises(QuantizationError, match="esp-ppq failed in fly"):
            talking.call("fly")
        assert talking._complaints.seek(0, os.SEEK_END) > 2**16


def test_the_process_ends_with_the_worker() -> None:
    with Worker() as closed:
        process = closed._process
    assert process.poll() is not None


def test_the_worker_imports_nothing_of_the_directory_and_writes_nothing_outside_of_a_folder_that_goes_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cwd").mkdir()
    for name in ("onnx", "numpy", "select"):
        (tmp_path / f"cwd/{name}.py").write_text(f"open({str(tmp_path / 'cwd/ran')!r}, 'w')")
    monkeypatch.chdir(tmp_path / "cwd")
    # What onnxruntime would tell its vendor, it keeps below the home directory until it can.
    for name in ("HOME", "XDG_CACHE_HOME", "TMPDIR"):
        (tmp_path / name).mkdir()
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.delenv("ORT_DISABLE_TELEMETRY", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", None)
    with Worker() as elsewhere:
        with pytest.raises(QuantizationError, match="esp-ppq failed in fly"):
            elsewhere.call("fly")
        (folder,) = (tmp_path / "TMPDIR").iterdir()
        (folder / "left").write_text("behind")
    found = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert found == {"cwd/onnx.py", "cwd/numpy.py", "cwd/select.py"}
    assert not folder.exists()


def test_the_worker_ends_with_its_caller_also_while_it_imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with tempfile.TemporaryFile() as complaints:
        process = launch(complaints)
        assert process.stdin is not None
        assert process.stdout is not None
        while not any(tmp_path.iterdir()):
            time.sleep(0.01)
        # As the system does for a process that was killed.
        process.stdin.close()
        assert process.wait() == 0
        process.stdout.close()
        complaints.seek(0)
        assert complaints.read() == b""
    assert list(tmp_path.iterdir()) == []

"""The worker process: it answers, raises what was raised there, and its death is an exception here."""

import io
import os
import signal

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
        with pytest.raises(QuantizationError, match="esp-ppq failed in quantize: AttributeError: 'int' object has no"):
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


def test_the_worker_does_not_depend_on_the_directory(
    tmp_path: os.PathLike[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with Worker() as elsewhere, pytest.raises(QuantizationError, match="esp-ppq failed in fly"):
        elsewhere.call("fly")

"""The process in which esp-ppq lives, seen from ours.

esp-ppq prints a banner when imported, logs errors instead of raising them, keeps singletons that an exception leaves
dirty, and writes bytes that depend on the hash seed. A process of its own, with a fixed hash seed, keeps all of that
away from the user's terminal and makes a bundle reproducible.
"""

from __future__ import annotations

import os
import pickle
import select
import struct
import subprocess
import sys
import tempfile
import weakref
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from lightning_esp.errors import LightningEspError, QuantizationError

# One thread: with several, a step of esp-ppq's executor takes ten times as long. onnxruntime, which esp-ppq imports, would
# tell its vendor about this machine.
SETTINGS = {
    "PYTHONHASHSEED": "0",
    "OMP_NUM_THREADS": "1",
    "CUDA_VISIBLE_DEVICES": "",
    "ORT_DISABLE_TELEMETRY": "1",
}

# Python puts the current directory first, where a file of the user's may be called like a module of ours.
_COMMAND = (
    "import sys; sys.path = [p for p in sys.path if p]; import runpy; runpy.run_path(sys.argv[2], None, '__main__')"
)
_WORKER = "lightning_esp.quantization.worker"

# Milliseconds that a worker has to clear up when it is no longer needed.
_GRACE = 5000

_SIZE = struct.Struct("<Q")


def send(stream: IO[bytes], message: object) -> None:
    """Write one message: its size, then its pickle."""
    data = pickle.dumps(message, protocol=5)
    stream.write(_SIZE.pack(len(data)))
    stream.write(data)
    stream.flush()


def receive(stream: IO[bytes]) -> Any:
    """Read one message.

    Raises:
        EOFError: the other side has gone.
    """
    header = stream.read(_SIZE.size)
    if len(header) < _SIZE.size:
        raise EOFError("the other process has ended")
    return pickle.loads(stream.read(_SIZE.unpack(header)[0]))


def worker_environment() -> dict[str, str]:
    """Return the environment of a worker: ours, with its settings and the paths that modules are found in."""
    return {**os.environ, **SETTINGS, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def launch(complaints: IO[bytes]) -> subprocess.Popen[bytes]:
    """Start a worker process that answers on pipes and writes what it has to say beside into a file."""
    return subprocess.Popen(
        # Its name is for whoever looks at the list of processes.
        [sys.executable, "-c", _COMMAND, _WORKER, str(Path(__file__).with_name("worker.py"))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=complaints,
        env=worker_environment(),
    )


class Worker:
    """A running worker process. It ends with the object, or with `close`."""

    def __init__(self) -> None:
        # A file, since a pipe that nobody reads would stop the process once it is full.
        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115  (closed by the finalizer)
        self._process = launch(self._complaints)
        self._finalizer = weakref.finalize(self, _end, self._process, self._complaints)

    def call(self, function: str, *arguments: object) -> Any:
        """Run a function of `quantization.driver` in the worker and return its result.

        Raises:
            LightningEspError: what the function raised.
            QuantizationError: the process died, or esp-ppq failed.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            send(self._process.stdin, (function, arguments))
            outcome, value = receive(self._process.stdout)
        except (EOFError, BrokenPipeError) as error:
            raise QuantizationError(
                f"the esp-ppq process ended while it ran {function}: {self._last_words()}"
            ) from error
        if outcome == "error":
            assert isinstance(value, LightningEspError)
            raise value
        return value

    def close(self) -> None:
        """End the process."""
        self._finalizer()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _last_words(self) -> str:
        self._process.kill()
        code = self._process.wait()
        self._complaints.seek(0)
        text = self._complaints.read().decode(errors="replace").strip()
        return text[-2000:] or f"exit code {code}"


def _end(process: subprocess.Popen[bytes], complaints: IO[bytes]) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    with suppress(BrokenPipeError):
        process.stdin.close()
    # It ends when it finds that closed, and takes its temporary files along.
    waiting = select.poll()
    waiting.register(process.stdout, 0)
    waiting.poll(_GRACE)
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout, complaints):
        # What was written to a process that died before it read is still buffered, and closing tries to send it.
        with suppress(BrokenPipeError):
            if stream is not None:
                stream.close()

"""Worker processes that are forked from one which has imported esp-ppq: the import costs more than a small export.

A forked worker runs the same `main` as one that is started, in a process of its own, from the same clean state.
`tests/quantization/test_process.py`, whatever runs the command line, and the bundles of the recipes start real ones.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from typing import IO, Any, cast

from lightning_esp.quantization.process import worker_environment


class Nursery:
    """A process that forks workers. It ends with this one."""

    def __init__(self) -> None:
        self._socket, other = socket.socketpair()
        command = [sys.executable, __file__, str(other.fileno())]
        self._process = subprocess.Popen(command, pass_fds=[other.fileno()], env=worker_environment())
        other.close()

    def launch(self, complaints: IO[bytes]) -> subprocess.Popen[bytes]:
        """Fork a worker; takes and gives what `lightning_esp.quantization.process.launch` does."""
        theirs, ours = os.pipe()
        answers, theirs_too = os.pipe()
        request = json.dumps({"fork": os.getcwd(), "environment": dict(os.environ)}).encode()
        pid = self.ask(request, [theirs, theirs_too, complaints.fileno()])
        os.close(theirs)
        os.close(theirs_too)
        return cast("subprocess.Popen[bytes]", Forked(self, pid, os.fdopen(ours, "wb"), os.fdopen(answers, "rb")))

    def ask(self, request: bytes, descriptors: list[int]) -> Any:
        socket.send_fds(self._socket, [len(request).to_bytes(8, "little")], descriptors)
        self._socket.sendall(request)
        return json.loads(self._socket.recv(64))

    def close(self) -> None:
        self._socket.close()
        self._process.wait()


class Forked:
    """What `Worker` uses of a `subprocess.Popen`, for a process that is another's child."""

    def __init__(self, nursery: Nursery, pid: int, stdin: IO[bytes], stdout: IO[bytes]) -> None:
        self.pid, self.stdin, self.stdout, self.returncode = pid, stdin, stdout, None
        self._nursery = nursery

    def kill(self) -> None:
        if self.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> int:
        if self.returncode is None:
            self.returncode = self._nursery.ask(json.dumps({"wait": self.pid}).encode(), [])
        return cast("int", self.returncode)


def main() -> None:
    """Fork a worker for each request that arrives on the socket, and tell how one ended."""
    import gc

    with open(os.devnull, "w") as nowhere:
        shown, sys.stdout = sys.stdout, nowhere
        from lightning_esp.quantization import driver, worker  # noqa: F401  (what the workers find imported)

        sys.stdout = shown
    gc.freeze()
    connection = socket.socket(fileno=int(sys.argv[1]))
    while True:
        header, descriptors, _, _ = socket.recv_fds(connection, 8, 3)
        if not header:
            return
        request = json.loads(read_exactly(connection, int.from_bytes(header, "little")))
        if "wait" in request:
            answer = os.waitstatus_to_exitcode(os.waitpid(request["wait"], 0)[1])
        elif not (answer := os.fork()):
            connection.close()
            become(descriptors, request)
            worker.main()
            os._exit(0)
        for each in descriptors:
            os.close(each)
        connection.sendall(json.dumps(answer).encode())


def read_exactly(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += connection.recv(size - len(data))
    return data


def become(descriptors: list[int], request: dict[str, Any]) -> None:
    for number, each in enumerate(descriptors):
        os.dup2(each, number)
        os.close(each)
    os.chdir(request["fork"])
    os.environ.update(request["environment"])


if __name__ == "__main__":
    main()

"""Entry of the worker process: answers calls on standard input until it is closed.

It is run as a file. What it imports at its top is small, so that it watches its caller while it imports the rest.
"""

from __future__ import annotations

import gc
import io
import os
import select
import shutil
import signal
import sys
import tempfile
import threading
import traceback
import warnings


def main() -> None:
    """Serve calls: each message names a function of `driver` and its arguments."""
    # Ctrl-C is for the caller, who ends this process as well.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    requests = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb")
    tempfile.tempdir = os.environ["TMPDIR"] = tempfile.mkdtemp(prefix="lightning_esp.")
    threading.Thread(target=_end_with_caller, args=(requests.fileno(), tempfile.tempdir), daemon=True).start()
    # Whatever prints to standard output from here on, C code included, must not corrupt the answers.
    os.dup2(2, 1)
    sys.stdout = io.StringIO()
    warnings.simplefilter("ignore")
    from lightning_esp.errors import LightningEspError, QuantizationError
    from lightning_esp.quantization import driver
    from lightning_esp.quantization.process import receive, send

    # esp-ppq collects garbage before each of its passes, and would look through all that torch imported every time.
    gc.freeze()
    while True:
        try:
            function, arguments = receive(requests)
        except EOFError:
            _clear(tempfile.tempdir)
            return
        try:
            answer = ("ok", getattr(driver, function)(*arguments))
        except LightningEspError as error:
            answer = ("error", error)
        except Exception as error:
            text = "".join(traceback.format_tb(error.__traceback__)[-2:])
            answer = (
                "error",
                QuantizationError(f"esp-ppq failed in {function}: {type(error).__name__}: {error}\n{text}"),
            )
        send(answers, answer)


def _end_with_caller(descriptor: int, folder: str) -> None:
    """End this process when nobody can ask any more, whatever it computes: a killed caller reads no answer."""
    waiting = select.poll()
    waiting.register(descriptor, 0)  # the other end of the pipe is closed: that alone is always told
    waiting.poll()
    _clear(folder)
    os._exit(0)


def _clear(folder: str) -> None:
    # The other thread may still write there.
    for _ in range(5):
        if os.path.exists(folder):
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()

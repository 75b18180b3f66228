"""Entry of the worker process: answers calls on standard input until it is closed."""

from __future__ import annotations

import gc
import io
import os
import sys
import traceback
import warnings

from lightning_esp.errors import LightningEspError, QuantizationError
from lightning_esp.quantization.process import receive, send


def main() -> None:
    """Serve calls: each message names a function of `driver` and its arguments."""
    requests = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb")
    # Whatever prints to standard output from here on, C code included, must not corrupt the answers.
    os.dup2(2, 1)
    sys.stdout = io.StringIO()
    warnings.simplefilter("ignore")
    from lightning_esp.quantization import driver

    # esp-ppq collects garbage before each of its passes, and would look through all that torch imported every time.
    gc.freeze()
    while True:
        try:
            function, arguments = receive(requests)
        except EOFError:
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


if __name__ == "__main__":
    main()

"""Compiles a C++ source, or takes the object of an equal one that this run of the tests has compiled already.

    python object_cache.py c++ -c FILE -o OBJECT ...

Several programs are built of the same components. Equal is what the compiler sees: its options and what the preprocessor
makes of the source. Without the folder that `FOLDER` names in the environment, the compiler is called and nothing is kept.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

FOLDER = "STREAMING_TESTS_OBJECTS"

# Options with a value that what the preprocessor makes has in it already, or that name what is written.
_WITH_VALUE = {"-o", "-MF", "-MT", "-MQ", "-isystem", "-include", "-I", "-D"}
_JOINED = ("-I", "-D", "-M")


def compile_object(command: Sequence[str]) -> subprocess.CompletedProcess[bytes]:
    """Run a compiler that is asked for one object, or put the object of an equal call there.

    Args:
        command: the compiler and its arguments, `-c` and `-o` among them.
    """
    folder = os.environ.get(FOLDER)
    if folder is None:
        return subprocess.run(command, capture_output=True)
    # With -g the preprocessor names the folder it runs in, which is another one for each build.
    preprocess = ["-E" if part == "-c" else part for part in _without_output(command)] + ["-fno-working-directory"]
    read = subprocess.run(preprocess, capture_output=True)
    # The file that an assembler includes is not in the text.
    if read.returncode or b".incbin" in read.stdout:
        return subprocess.run(command, capture_output=True)
    options = "\0".join(sorted(_judged(command))).encode()
    place = Path(folder) / hashlib.sha256(options + b"\0\0" + read.stdout).hexdigest()
    with open(f"{place}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        output = command[command.index("-o") + 1]
        if place.exists():
            shutil.copyfile(place, output)
            return subprocess.CompletedProcess(command, 0, b"", b"")
        done = subprocess.run(command, capture_output=True)
        if done.returncode == 0 and not done.stderr:
            shutil.copyfile(output, f"{place}.part")
            os.rename(f"{place}.part", place)
        return done


def _without_output(command: Sequence[str]) -> list[str]:
    """The command without the place of its object; what it writes of dependencies stays, for who wants to know them."""
    at = command.index("-o")
    return [*command[:at], *command[at + 2 :]]


def _judged(command: Sequence[str]) -> list[str]:
    """The compiler and the options that the preprocessor leaves no trace of."""
    judged, skip = [], False
    for part in command:
        if not skip and part not in _WITH_VALUE and not part.startswith(_JOINED) and not part.endswith((".cpp", ".c")):
            judged.append(part)
        skip = part in _WITH_VALUE
    return judged


if __name__ == "__main__":
    finished = compile_object(sys.argv[1:]) if "-c" in sys.argv else subprocess.run(sys.argv[1:], capture_output=True)
    sys.stdout.buffer.write(finished.stdout)
    sys.stderr.buffer.write(finished.stderr)
    sys.exit(finished.returncode)

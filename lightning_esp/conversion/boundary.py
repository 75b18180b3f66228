"""The edge of a conversion: whatever is raised inside reaches the user as an error of this package."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from lightning_esp.errors import ConversionError, LightningEspError

_PACKAGE = Path(__file__).parents[1]
_TORCH = Path(torch.__file__).parent


@contextmanager
def own_errors(module: object) -> Iterator[None]:
    """Turn any other exception into a `ConversionError` that says where in the user's code it was raised.

    Nothing in it is cast: a caller may stand in an autocast of its own.

    Args:
        module: what is converted, for the message.
    """
    try:
        with torch.autocast("cpu", enabled=False):
            yield
    except LightningEspError:
        raise
    except Exception as error:
        raise ConversionError(
            f"{_name(module)} was not converted: {type(error).__name__}: {error}{_line(error)}. Write streaming_forward(x, "
            "*caches) and streaming_caches() by hand for the submodule that this happens in, or for the whole module."
        ) from error


def _name(module: object) -> str:
    return type(module).__name__ if isinstance(module, nn.Module) else "the module"


def _line(error: BaseException) -> str:
    """The last line of the user's own that was running."""
    others = (_PACKAGE, _TORCH)
    own = [
        f for f in traceback.extract_tb(error.__traceback__) if not any(map(Path(f.filename).is_relative_to, others))
    ]
    own = [f for f in own if Path(f.filename).is_file()]
    return f" (at line {own[-1].lineno} of {Path(own[-1].filename).name}, in {own[-1].name})" if own else ""

"""Prints what classifiers of clips cost on a stream in both forms: frame by frame, and the whole network on each clip.

    python benchmarks/clip.py [--target esp32s3]

The networks are those of `tests/strangers` that decide on clips, with random weights, which costs don't depend on. Times are
the estimate of `lightning_esp.cost`, no measurement. Both forms decide at the pace that the sliding one has by itself, an
eighth of the clip, so that the ratio is of the same work; a network whose first layer pads on both sides has one form only.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from dataclasses import replace
from math import prod
from pathlib import Path

from lightning_esp import StreamingModel, convert
from lightning_esp.conversion.example import as_example
from lightning_esp.conversion.operator_cost import work_of_stage
from lightning_esp.cost.chip import reference_chip

sys.path.append(str(Path(__file__).parents[1]))
from tests.strangers.entry import Exports, Stranger
from tests.strangers.families import STRANGERS

HEADER = "| network | form | clip | hop | delay | bytes held | us a decision | whole network, us | ratio |"


def forms(stranger: Stranger) -> tuple[StreamingModel, StreamingModel]:
    """The form that a conversion chooses and the sliding one, at one pace: about that of the sliding one, in whole strides."""
    module, example = stranger.module(), as_example(stranger.module(), stranger.recordings()[0])
    pace = convert(module, example, replace(stranger.streaming, clip_form="sliding")).window
    stride = convert(module, example, stranger.streaming).window
    options = replace(stranger.streaming, hop=max(1, pace // stride) * stride)
    sliding = convert(module, example, replace(options, clip_form="sliding"))
    return convert(module, example, options), sliding


def row(stranger: Stranger, target: str) -> str:
    """One line of the table."""
    chosen, sliding = forms(stranger)
    clip = chosen.spec.clip
    assert clip is not None
    held = sum(prod(cache.shape) for cache in chosen.spec.caches)
    cost, whole = microseconds(chosen, target), microseconds(sliding, target)
    cells = (
        stranger.name, clip.form, clip.frames, clip.hop, chosen.delay * clip.hop, held, f"{cost:.0f}", f"{whole:.0f}",
        f"{whole / cost:.1f}",
    )  # fmt: skip
    return f"| {' | '.join(map(str, cells))} |"


def microseconds(model: StreamingModel, target: str) -> float:
    """The estimate of one window."""
    chip, work = reference_chip(target), work_of_stage(model.stages[0], model.spec.stages[0])
    assert work is not None
    return chip.microseconds(work)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", default="esp32s3")
    target = parser.parse_args().target
    warnings.simplefilter("ignore")
    print(HEADER)
    print("|" + " --- |" * (HEADER.count("|") - 1))
    for stranger in STRANGERS:
        if stranger.clip and isinstance(stranger.outcome, Exports):
            print(row(stranger, target), flush=True)


if __name__ == "__main__":
    main()

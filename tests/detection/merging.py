"""One of two processes that listen to every other recording and put their figures together.

python -m tests.detection.merging RANK FILE
"""

from __future__ import annotations

import json
import sys

import torch
from torch import distributed

from lightning_esp.detection import KeywordDetection, StreamingClipAccuracy
from tests.support.scores import LABELS, SETTINGS, recording


def listen(numbers: range) -> tuple[KeywordDetection, StreamingClipAccuracy]:
    detection, accuracy = KeywordDetection(SETTINGS, LABELS, 0.01, points=9), StreamingClipAccuracy(3)
    for number in numbers:
        outputs, keywords = recording(number)
        detection.update(outputs, keywords)
        accuracy.update(outputs[:, 100:150], outputs[:, 300:350], number % 3)
    return detection, accuracy


def figures(numbers: range) -> dict[str, float]:
    detection, accuracy = listen(numbers)
    return {name: float(value) for name, value in {**detection.compute(), **accuracy.compute()}.items()}


if __name__ == "__main__":
    torch.set_num_threads(1)
    rank, file = int(sys.argv[1]), sys.argv[2]
    distributed.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=2)
    print(json.dumps(figures(range(rank, 5, 2))))
    distributed.destroy_process_group()

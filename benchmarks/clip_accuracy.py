"""Prints the accuracy of the recipe's network with a global mean as its head: float on clips, int8 on clips, int8 in a stream.

    python benchmarks/clip_accuracy.py [--epochs 40]

It is trained on the clips of the tiny set as anybody trains a classifier: one decision for each clip of a second. `int8 clip`
runs each test clip from zeros; `int8 stream` runs all test clips as one recording and takes the decision at the end of each.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_esp import Bundle, Streaming, export, simulate
from lightning_esp.frontend import LogMel

sys.path.append(str(Path(__file__).parents[1] / "recipes"))
from speech_data import TINY_SET, SpeechData
from tcn import KeywordTcn

BANDS = 32


class PooledTcn(KeywordTcn):
    """The recipe's network with the mean of its logits over the clip."""

    def forward(self, x: Tensor) -> Tensor:
        """Map log-mel frames `[batch, bands, frames]` to logits `[batch, classes]`."""
        return super().forward(x).mean(-1)


def read(front_end: LogMel, data: SpeechData, split: str) -> tuple[Tensor, Tensor]:
    """Features `[clips, bands, frames]` and labels of a split."""
    clips = data.dataset(split)
    with torch.no_grad():
        features = torch.stack([front_end(clips[i][0]) for i in range(len(clips))])
    return features, torch.tensor(clips.targets)


def train(network: nn.Module, features: Tensor, labels: Tensor, epochs: int) -> nn.Module:
    """Train with cross entropy on clips that are moved by some frames."""
    optimizer = torch.optim.AdamW(network.parameters(), 3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=epochs * -(-len(features) // 64))
    for _ in range(epochs):
        for batch in torch.randperm(len(features)).split(64):
            moved = torch.roll(features[batch], int(torch.randint(-10, 11, ())), dims=-1)
            loss = F.cross_entropy(network(moved), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return network.eval()


def decide(bundle: Bundle, recording: Tensor, every: int) -> Tensor:
    """The class at the end of each clip of a recording."""
    decisions = simulate(bundle, recording)
    assert isinstance(decisions, Tensor)
    return decisions[:, ::every].argmax(0)


def main() -> None:
    """Print one line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=40)
    epochs = parser.parse_args().epochs
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    data, front_end = SpeechData(root=str(TINY_SET)), LogMel(num_mel_bins=BANDS, frame_length=30, log_epsilon=1e-5)
    data.setup("fit")
    features, labels = read(front_end, data, "train")
    mean, scale = features.mean((0, 2), keepdim=True), features.std((0, 2), keepdim=True)
    network = train(
        PooledTcn(BANDS, len(data.labels), 80, 5, (1, 2, 4, 8, 1, 2, 4, 8)), (features - mean) / scale, labels, epochs
    )
    tests, expected = read(front_end, data, "test")
    tests = (tests - mean) / scale
    clips = [(clip - mean[0]) / scale[0] for clip in features]
    with tempfile.TemporaryDirectory() as folder:
        bundle = export(network, clips, Path(folder) / "bundle", streaming=Streaming(time_axis=2))
        clip = bundle.manifest["streaming"]["clip"]
        alone = torch.stack([decide(bundle, each, 1)[-1] for each in tests])
        row = decide(bundle, torch.cat(list(tests), dim=-1), clip["frames"] // clip["hop"])
    with torch.no_grad():
        floating = network(tests).argmax(1)
    found = {"float clip": floating, "int8 clip": alone, "int8 stream": row}
    print(f"{len(tests)} clips of {clip['frames']} frames, {clip['form']}, a decision every {clip['hop']}")
    print(", ".join(f"{name} {float((each == expected).float().mean()):.3f}" for name, each in found.items()))
    doubts = [p["doubt"] for p in bundle.report["targets"]["esp32s3"]["proofs"] if p["doubt"]]
    print("\n".join(doubts))


if __name__ == "__main__":
    main()

"""Validation and test with integers in place of the network: `python quantized_run.py FOLDER STRATEGY`.

FOLDER holds `quantized.pkl` and `weights.pt`; what the steps log goes to `metrics.json`.
"""

import copy
import json
import pickle
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from lightning_esp.inspection.simulator import QuantizedStreaming
from tests.models.spotter import Clips, Spotter


class Tested(Spotter):
    """A spotter with a test step."""

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.log("test_mean", self.net(batch[0]).mean(), sync_dist=True)


def make_trainer(folder: Path, strategy: str) -> pl.Trainer:
    return pl.Trainer(
        strategy=strategy,
        accelerator="cpu",
        devices=1 if strategy == "auto" else 2,
        default_root_dir=folder,
        enable_progress_bar=False,
        logger=False,
    )


def main() -> None:
    torch.set_num_threads(1)
    folder, strategy = Path(sys.argv[1]), sys.argv[2]
    module = Tested()
    module.net.load_state_dict(torch.load(folder / "weights.pt"))
    loader = DataLoader(Clips(24, 2), 6)
    trainer = make_trainer(folder, strategy)
    metrics = {"float": trainer.validate(module, loader, verbose=False)[0]["val_acc"]}
    integer = copy.deepcopy(module)
    # What the copy has logged points at the metrics of the original.
    integer._metric_attributes = None
    integer.net = QuantizedStreaming(pickle.loads((folder / "quantized.pkl").read_bytes()))
    metrics |= make_trainer(folder, strategy).validate(integer, loader, verbose=False)[0]
    integer._metric_attributes = None
    last = make_trainer(folder, strategy)
    metrics |= last.test(integer, loader, verbose=False)[0]
    if last.global_rank == 0:
        (folder / f"metrics_{last.world_size}.json").write_text(json.dumps(metrics))


if __name__ == "__main__":
    main()

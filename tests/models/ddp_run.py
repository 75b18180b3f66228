"""A training run in two processes on the CPU: `python ddp_run.py OUTPUT_DIR export|refuse|aware`."""

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from lightning_esp.aware_training import EspQuantAwareTraining
from lightning_esp.callback import EspStreamingExport
from tests.models.spotter import CLASSES, Clips, Spotter


class Prepared(Spotter):
    """Overrides a hook before which Lightning waits for all processes."""

    def prepare_data(self) -> None:
        pass


class Refused(Spotter):
    """Has two networks, so the callback cannot know which one to export."""

    def __init__(self) -> None:
        super().__init__()
        self.other = torch.nn.Linear(CLASSES, CLASSES)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return super().training_step(batch, batch_idx) + 0 * self.other.weight.sum()


if __name__ == "__main__":
    output, mode = Path(sys.argv[1]), sys.argv[2]
    torch.set_num_threads(1)
    pl.seed_everything(1)
    trainer = pl.Trainer(
        callbacks=[
            EspStreamingExport(output_dir=output / "bundle"),
            *([EspQuantAwareTraining(start=1)] if mode == "aware" else []),
        ],
        strategy="ddp",
        accelerator="cpu",
        devices=2,
        max_epochs=5 if mode == "aware" else 2,
        default_root_dir=output,
        enable_progress_bar=False,
        logger=False,
    )
    module = Refused() if mode == "refuse" else Prepared()
    trainer.fit(module, DataLoader(Clips(48, 1), 8), DataLoader(Clips(24, 2), 8))
    # Every process comes here without having waited for the export, and the group still works.
    trainer.strategy.barrier()
    (output / f"rank_{trainer.global_rank}").write_text(str(module.net.conv.weight.sum().item()))

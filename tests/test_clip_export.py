"""Exports of networks that decide on clips: proofs, files, the user's own steps, what is read back."""

from __future__ import annotations

import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_esp import EspStreamingExport, Streaming, export, read_bundle, simulate, verify_bundle
from lightning_esp.errors import ConfigurationError
from tests.conversion.clip_networks import (
    BANDS,
    FRAMES,
    Crnn,
    Encoder,
    LstmBothWays,
    LstmHead,
    MeanHead,
    OneSymmetric,
    Symmetric,
)

RECORDINGS = [torch.randn(BANDS, FRAMES, generator=torch.Generator().manual_seed(i)) for i in range(16)]


@pytest.mark.parametrize("kind", [MeanHead, Symmetric, Crnn, LstmHead, LstmBothWays], ids=lambda kind: kind.__name__)
def test_integers_of_clips_follow_the_network(kind, tmp_path):
    torch.manual_seed(1)
    module = kind().eval()
    bundle = export(module, RECORDINGS, tmp_path / "bundle", streaming=Streaming(time_axis=2))
    proofs = bundle.report["targets"]["esp32s3"]["proofs"]
    assert all(proof["passed"] for proof in proofs)
    again = read_bundle(bundle.path)
    clip = again.manifest["streaming"]["clip"]
    assert clip["frames"] == FRAMES
    assert clip["form"] == ("incremental" if kind in (MeanHead, LstmHead) else "sliding")
    with torch.no_grad():
        offline = module(RECORDINGS[0].unsqueeze(0))[0]
    decisions = simulate(again, RECORDINGS[0])
    assert decisions.shape == (4, 1)
    assert float((decisions[:, 0] - offline).abs().max()) < 0.1
    verify_bundle(again)


def test_a_clip_with_look_ahead_is_named_everywhere(tmp_path):
    torch.manual_seed(1)
    options = Streaming(time_axis=2, lookahead=2)
    bundle = export(OneSymmetric().eval(), RECORDINGS, tmp_path / "bundle", streaming=options)
    assert all(proof["passed"] for proof in bundle.report["targets"]["esp32s3"]["proofs"])
    again = read_bundle(bundle.path)
    assert again.manifest["streaming"]["clip"]["lookahead"] == 2
    assert "waits for 2 frames behind the clip" in (bundle.path / "report.html").read_text(encoding="utf-8")
    assert simulate(again, RECORDINGS[0]).shape == (4, 1)
    verify_bundle(again)


@pytest.mark.full
def test_attention_over_a_clip(tmp_path):
    torch.manual_seed(1)
    bundle = export(Encoder().eval(), RECORDINGS, tmp_path / "bundle", streaming=Streaming(time_axis=2))
    assert all(proof["passed"] for proof in bundle.report["targets"]["esp32s3"]["proofs"])


def test_recordings_of_several_lengths_ask_for_the_clip(tmp_path):
    recordings = [RECORDINGS[0], torch.randn(BANDS, FRAMES + 3)]
    with pytest.raises(ConfigurationError, match=r"Streaming\(clip=20\)"):
        export(MeanHead().eval(), recordings, tmp_path / "bundle", streaming=Streaming(time_axis=2))


class Classifier(pl.LightningModule):
    """A classifier as it is written everywhere: clips in, cross entropy and accuracy out."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv1d(BANDS, 16, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(16, 4)
        )

    def training_step(self, batch, _):
        x, y = batch
        return F.cross_entropy(self.net(x), y)

    def validation_step(self, batch, _):
        x, y = batch
        self.log("val_acc", (self.net(x).argmax(1) == y).float().mean())

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), 0.03)


def test_the_users_own_steps_judge_clips(tmp_path):
    pl.seed_everything(0)
    labels = torch.arange(32) % 4
    data = torch.randn(32, BANDS, FRAMES) + 2 * F.one_hot(labels, BANDS).unsqueeze(-1)
    loader = DataLoader(TensorDataset(data, labels), 8)
    callback = EspStreamingExport(output_dir=tmp_path / "bundle")
    trainer = pl.Trainer(
        max_epochs=3, callbacks=[callback], logger=False, enable_progress_bar=False, enable_checkpointing=False,
        enable_model_summary=False, accelerator="cpu",
    )  # fmt: skip
    trainer.fit(Classifier(), loader, loader)
    assert callback.bundle is not None
    metrics = callback.bundle.manifest["metrics"]
    assert metrics["float"]["val_acc"] > 0.9
    assert abs(metrics["quantized"]["esp32s3"]["val_acc"] - metrics["float"]["val_acc"]) <= 1 / 32

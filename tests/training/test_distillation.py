"""`Distill`: the loss that is trained, by hand and by Lightning; teachers from checkpoints and modules."""

import copy
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from lightning_esp.errors import ConfigurationError, DataError
from lightning_esp.training import Distill, kl_divergence


class Student(pl.LightningModule):
    """Frames -> logits per frame, as the recipes' networks give them."""

    def __init__(self, width: int = 3, rate: float = 0.5) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.network = nn.Sequential(nn.Conv1d(4, width, 1), nn.Tanh(), nn.Conv1d(width, 3, 1))
        self.rate = rate

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x, labels = batch
        loss = F.cross_entropy(self.network(x), labels)
        self.log("own", loss)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), self.rate)


def data(count: int = 8) -> TensorDataset:
    generator = torch.Generator().manual_seed(0)
    return TensorDataset(
        torch.randn(count, 4, 6, generator=generator), torch.randint(0, 3, (count, 6), generator=generator)
    )


def fit(student: pl.LightningModule, *callbacks: pl.Callback, folder: Path, **options: Any) -> pl.Trainer:
    options = {"max_epochs": 1, "logger": False, "enable_checkpointing": False} | options
    trainer = pl.Trainer(
        accelerator="cpu",
        callbacks=list(callbacks),
        default_root_dir=folder,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )
    trainer.fit(student, DataLoader(data(), batch_size=4))
    return trainer


def make(width: int = 3) -> Student:
    torch.manual_seed(width)
    return Student(width)


@pytest.mark.parametrize("accumulated", [1, 2])
def test_the_steps_are_those_of_the_loss_written_by_hand(tmp_path: Path, accumulated: int) -> None:
    student, teacher = make(), make(5).network
    twin = copy.deepcopy(student)
    trainer = fit(student, Distill(teacher, 3.0, 0.25), folder=tmp_path, accumulate_grad_batches=accumulated)
    optimizer = twin.configure_optimizers()
    for index, (x, labels) in enumerate(DataLoader(data(), batch_size=4)):
        logits = twin.network(x)
        soft, wanted = (F.softmax(scores / 3.0, dim=1) for scores in (logits, teacher(x).detach()))
        apart = (wanted * (wanted.log() - soft.log())).sum(1).mean() * 9.0
        loss = 0.75 * F.cross_entropy(logits, labels) + 0.25 * apart
        (loss / accumulated).backward()
        if (index + 1) % accumulated == 0:
            optimizer.step()
            optimizer.zero_grad()
    for found, expected in zip(student.parameters(), twin.parameters(), strict=True):
        assert torch.allclose(found, expected, atol=1e-6)
    assert not torch.allclose(student.network[0].weight, make().network[0].weight)
    assert trainer.logged_metrics["distillation"] == pytest.approx(apart.item(), rel=1e-5)
    assert trainer.logged_metrics["own"] == pytest.approx(F.cross_entropy(logits, labels).item(), rel=1e-5)


def test_a_student_comes_near_to_a_larger_teacher_from_a_checkpoint(tmp_path: Path) -> None:
    teacher, path = make(16), tmp_path / "teacher.ckpt"
    fit(teacher, folder=tmp_path, max_epochs=40).save_checkpoint(path)
    x = data().tensors[0]
    before = kl_divergence(make().network(x), teacher.network(x))
    student = make()
    trainer = fit(student, Distill(path, weight=1.0), folder=tmp_path, max_epochs=40)
    assert kl_divergence(student.network(x), teacher.network(x)) < 0.3 * before
    trainer.save_checkpoint(tmp_path / "student.ckpt")
    held = torch.load(tmp_path / "student.ckpt", weights_only=True)["state_dict"]
    assert set(held) == set(student.state_dict())
    assert not student.network._forward_hooks


def test_the_classes_may_be_the_last_axis() -> None:
    student, teacher = torch.randn(2, 3, 5), torch.randn(2, 3, 5)
    assert torch.allclose(kl_divergence(student, teacher, 2.0), kl_divergence(student.mT, teacher.mT, 2.0, -1))
    assert float(kl_divergence(student, student)) == pytest.approx(0.0, abs=1e-6)


class ByHand(Student):
    """Optimizes by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False


class Unused(Student):
    """Trains something that is not the network."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self.network[0](batch[0]).mean()


@pytest.mark.parametrize(
    ("student", "teacher", "error", "message"),
    [
        (make, nn.Conv1d(4, 2, 1), DataError, r"gives \(4, 2, 6\) and the student \(4, 3, 6\)"),
        (make, "nowhere.ckpt", ConfigurationError, r"teacher='nowhere.ckpt'\) is no checkpoint that Student"),
        (ByHand, nn.Conv1d(4, 3, 1), ConfigurationError, "ByHand has automatic_optimization"),
        (Unused, nn.Conv1d(4, 3, 1), DataError, "did not call 'the network'"),
    ],
    ids=["shape", "path", "by hand", "unused"],
)
def test_what_cannot_work_is_told(
    tmp_path: Path, student: Any, teacher: Any, error: type[Exception], message: str
) -> None:
    module = student()
    with pytest.raises(error, match=message):
        fit(module, Distill(teacher), folder=tmp_path)
    assert not module.network._forward_hooks


@pytest.mark.parametrize("options", [{"temperature": 0.0}, {"weight": 0.0}, {"weight": 1.5}])
def test_values_that_cannot_work_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError, match=rf"Distill\({next(iter(options))}="):
        Distill("teacher.ckpt", **options)


def test_a_copy_of_the_student_within_a_step_is_plain(tmp_path: Path) -> None:
    class Copies(pl.Callback):
        found: nn.Module

        def on_train_batch_start(self, trainer: Any, pl_module: Any, *_: Any) -> None:
            self.found = copy.deepcopy(pl_module.network)

    copies, teacher = Copies(), nn.Conv1d(4, 3, 1)
    fit(make(), Distill(teacher), copies, folder=tmp_path)
    (tap,) = copies.found._forward_hooks.values()
    copies.found(data().tensors[0])
    assert tap.calls == []

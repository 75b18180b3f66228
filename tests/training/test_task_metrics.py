"""Proof 5: metrics of the user's own steps, float against the stream, and what follows from them."""

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchmetrics import MeanSquaredError, MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score

from lightning_esp import EspStreamingExport, Streaming
from lightning_esp.errors import ConversionError
from lightning_esp.training.subject import make_subject
from lightning_esp.training.task_metrics import TaskMetrics
from tests.models.fake_export import Noisy
from tests.models.runs import fit
from tests.models.spotter import CLASSES, Clips, Net, Spotter, SpotterData

pytestmark = [pytest.mark.filterwarnings("ignore::UserWarning"), pytest.mark.filterwarnings("ignore::FutureWarning")]


class Swapped(nn.Module):
    """The float network with two classes swapped for the first `count` recordings that it sees."""

    def __init__(self, module: nn.Module, count: int) -> None:
        super().__init__()
        self.module = module
        self.left = count

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.module(x).clone()
        changed = min(self.left, len(out))
        self.left -= changed
        out[:changed] = out[:changed].roll(1, dims=1)
        return out


class Idle(pl.Callback):
    """Stands where the exporting callback would."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    pl.seed_everything(0, verbose=False)
    return fit(tmp_path_factory.mktemp("run"), Idle(), max_epochs=10)


def judge(trained: tuple[Any, Any], tolerance: float = 0.005, **options: Any) -> tuple[TaskMetrics, nn.Module]:
    subject = make_subject(*trained, None, None)
    return TaskMetrics(subject, tolerance, **options), subject.module


def test_the_float_network_agrees_with_itself(trained: tuple[Any, Any]) -> None:
    task, module = judge(trained)
    result = task(Noisy(module, 0.0))
    assert result.float_metrics == {name: result.quantized_metrics[name] for name in ("val_acc", "val_loss")}
    assert result.float_metrics["val_acc"] == 1.0
    assert result.quantized_metrics["decision_agreement"] == 1.0
    assert result.quantized_metrics["frame_agreement"] == 1.0
    assert "output_snr_db" not in result.quantized_metrics, "nothing differs"
    assert [proof.passed for proof in result.proofs] == [True]
    assert "no test data" in result.notes[0]


def test_the_users_own_objects_are_left_alone(trained: tuple[Any, Any]) -> None:
    trainer, module = trained
    state = {name: value.clone() for name, value in module.state_dict().items()}
    modes, metrics = module.training, dict(trainer.callback_metrics)
    task, net = judge(trained)
    task(Noisy(net, 1.0))
    assert all(torch.equal(value, state[name]) for name, value in module.state_dict().items())
    assert "forward" not in vars(module.net)
    assert "forward" not in vars(net)
    assert module.trainer is trainer
    assert module.training == modes
    assert trainer.callback_metrics == metrics
    assert trainer.datamodule.trainer is trainer


def test_noise_is_measured(trained: tuple[Any, Any]) -> None:
    task, module = judge(trained)
    x = Clips(24, 2).x
    power = float(module(x).square().mean())
    loud, quiet = task(Noisy(module, 3.0)), task(Noisy(module, 0.05))
    for result, noise in ((loud, 3.0), (quiet, 0.05)):
        expected = 10 * torch.log10(torch.tensor(power / noise**2)).item()
        assert result.quantized_metrics["output_snr_db"] == pytest.approx(expected, abs=0.5)
    assert loud.quantized_metrics["frame_agreement"] < quiet.quantized_metrics["frame_agreement"] <= 1
    assert loud.quantized_metrics["val_loss"] != loud.float_metrics["val_loss"]


def test_an_accuracy_that_falls_is_a_failed_proof_with_advice(trained: tuple[Any, Any]) -> None:
    task, module = judge(trained)
    result = task(Swapped(module, 6))
    (proof,) = result.proofs
    assert not proof.passed
    assert proof.figure == pytest.approx(6 / 24)
    assert proof.limit == pytest.approx(2 / 24)
    assert proof.where == "val_acc is 1.0000 in float and 0.7500 in integers, on 24 recordings"
    assert "Quantization(tolerance=...)" in proof.next_step
    assert result.quantized_metrics["decision_agreement"] == pytest.approx(18 / 24)
    generous, module = judge(trained, tolerance=0.3)
    assert generous(Swapped(module, 6)).proofs[0].passed


def test_two_changed_recordings_prove_nothing(trained: tuple[Any, Any]) -> None:
    task, module = judge(trained)
    assert task(Swapped(module, 2)).proofs[0].passed
    assert not task(Swapped(module, 3)).proofs[0].passed


def test_float_metrics_are_run_once_for_all_targets(trained: tuple[Any, Any]) -> None:
    task, module = judge(trained)
    with torch.no_grad():
        first = task(Noisy(module, 0.0))
        # Were the float run repeated, it would now see other weights.
        module.head.bias[0] += 100.0  # type: ignore[index, union-attr]
        second = task(Noisy(module, 0.0))
    assert first.float_metrics == second.float_metrics
    assert second.quantized_metrics["val_acc"] < 0.5


def test_a_rehearsal_proves_nothing_and_takes_one_batch(trained: tuple[Any, Any]) -> None:
    task, module = judge(trained, limit=1, rehearsal=True)
    counted: list[int] = []
    stream = Noisy(module, 0.0)
    stream.register_forward_pre_hook(lambda _, args, kwargs: counted.append(len(kwargs["x"])), with_kwargs=True)
    assert task(stream).proofs == ()
    assert counted == [16]


class FullSpotter(Spotter):
    """A spotter with a test, several validation loaders and all sorts of metrics."""

    def __init__(self) -> None:
        super().__init__()
        self.scores = MetricCollection({"f1": MulticlassF1Score(CLASSES), "micro": MulticlassAccuracy(CLASSES)})
        self.distance = MeanSquaredError()

    def setup(self, stage: str) -> None:
        if stage == "test":
            self.test_acc = MulticlassAccuracy(CLASSES, average="micro")

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return F.cross_entropy(self.net(batch["x"]).mean(2), batch["y"])

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        scores = self.net(batch["x"]).mean(2)
        self.scores.update(scores.softmax(1), batch["y"])
        self.distance(scores, F.one_hot(batch["y"], CLASSES))
        self.log("val_mse", self.distance, add_dataloader_idx=True)
        self.logger.experiment.add_histogram("scores", scores)  # type: ignore[union-attr]
        assert self.trainer.datamodule.labels[0] == "left"  # type: ignore[attr-defined]

    def on_validation_epoch_end(self) -> None:
        self.log_dict({f"val/{name}": value for name, value in self.scores.compute().items()})
        self.scores.reset()

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.test_acc(self.net(batch["x"]).mean(2).argmax(1), batch["y"])
        self.log("test_acc", self.test_acc, sync_dist=True)


class FullData(SpotterData):
    """Batches are mappings; the normalisation stands in a transfer hook; the test data are made when they are wanted."""

    def setup(self, stage: str) -> None:
        if stage == "fit":
            super().setup(stage)
        else:
            self.test = Clips(20, 3)

    def collate(self, items: Any) -> Any:
        return {"x": torch.stack([x for x, _ in items]) * 100, "y": torch.tensor([y for _, y in items])}

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        return {**batch, "x": batch["x"] / 100}

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.train, 16, collate_fn=self.collate)

    def val_dataloader(self) -> Any:
        return [DataLoader(self.val, 16, collate_fn=self.collate), DataLoader(self.val, 8, collate_fn=self.collate)]

    def test_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.test, 16, collate_fn=self.collate)


@pytest.fixture(scope="module")
def tested(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    pl.seed_everything(0, verbose=False)
    data, module = FullData(), FullSpotter()
    directory = tmp_path_factory.mktemp("tested")
    return fit(
        directory, Idle(), module=module, datamodule=data, max_epochs=10, num_sanity_val_steps=0, logger=FakeBoard()
    )


class FakeBoard(pl.loggers.CSVLogger):
    """A logger whose experiment takes histograms."""

    def __init__(self) -> None:
        super().__init__("unused")

    @property
    def experiment(self) -> Any:
        return type("Board", (), {"__getattr__": lambda self, name: lambda *a, **k: None})()

    def save(self) -> None:
        """Nothing is written."""


def test_test_data_collections_and_several_loaders_are_judged(tested: tuple[Any, Any]) -> None:
    task, module = judge(tested)
    result = task(Noisy(module, 0.01))
    names = {"val/f1", "val/micro", "val_mse/dataloader_idx_0", "val_mse/dataloader_idx_1", "test_acc"}
    assert result.float_metrics.keys() == names
    assert result.float_metrics["test_acc"] > 0.9
    assert result.quantized_metrics["decision_agreement"] == 1.0
    assert result.quantized_metrics["test_decision_agreement"] == 1.0
    assert {proof.name.split()[0] for proof in result.proofs} == {"val/f1", "test_acc"}
    assert result.notes == ()


def test_a_monitored_metric_counts_whatever_its_name(tmp_path: Path, tested: tuple[Any, Any]) -> None:
    trainer, module = tested
    trainer.callbacks.append(ModelCheckpoint(tmp_path, monitor="val/micro", mode="max"))
    try:
        task, net = judge((trainer, module))
        assert "val/micro" in {proof.name.split()[0] for proof in task(Noisy(net, 0.0)).proofs}
    finally:
        trainer.callbacks.pop()


def test_a_step_that_ignores_the_module_proves_nothing(tmp_path: Path) -> None:
    class Aside(Spotter):
        def __init__(self) -> None:
            super().__init__()
            self.other = Net()

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.log("val_acc", (self.other(batch[0]).mean(2).argmax(1) == batch[1]).float().mean())

    trainer, module = fit(tmp_path, Idle(), module=Aside(), max_epochs=1)
    subject = make_subject(trainer, module, "net", None)
    result = TaskMetrics(subject, 0.005)(Noisy(subject.module, 0.0))
    assert result.proofs == ()
    assert "validation_step does not call 'net' (Net)" in result.notes[0]


def test_decisions_are_counted_by_the_class_that_was_true(trained: tuple[Any, Any]) -> None:
    task, module = judge(trained)
    found = task(Swapped(module, 6)).confusion
    assert (found["rows"], found["data"]) == ("target", "validation")
    assert found["float_counts"] == [[8, 0, 0], [0, 8, 0], [0, 0, 8]]
    # The first six recordings have the targets 0, 1, 2, 0, 1, 2, and each is taken for the next class.
    assert found["counts"] == [[6, 2, 0], [0, 6, 2], [2, 0, 6]]


def test_without_targets_the_frames_of_float_and_integers_are_counted(trained: tuple[Any, Any]) -> None:
    class Plain(Spotter):
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.log("val_loss", F.cross_entropy(self.net(batch[0]).mean(2), batch[1]))

    trainer, module = trained
    plain = Plain()
    plain.load_state_dict(module.state_dict())
    subject = make_subject(trainer, plain, None, None)
    found = TaskMetrics(subject, 0.005)(Swapped(subject.module, 6)).confusion
    assert found["rows"] == "float"
    counts = torch.tensor(found["counts"])
    with torch.no_grad():
        outputs = subject.module(Clips(24, 2).x)
    swapped = outputs.clone()
    swapped[:6] = swapped[:6].roll(1, dims=1)
    expected = torch.zeros(CLASSES, CLASSES, dtype=torch.long)
    for row, column in zip(outputs.argmax(1).flatten(), swapped.argmax(1).flatten(), strict=True):
        expected[row, column] += 1
    assert torch.equal(counts, expected)
    assert int(counts.diagonal().sum()) < int(counts.sum())


class Named(Net):
    """The same with its scores in a dict, beside the input."""

    streaming_forward = None

    def forward(self, x: Tensor) -> Any:
        return {"scores": super().forward(x), "input": x}


class NamedSpotter(Spotter):
    """Its steps take the scores out of the dict; `reads` is what else validation takes."""

    reads = "scores"

    def __init__(self) -> None:
        super().__init__()
        self.net = Named()

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return F.cross_entropy(self.net(batch[0])["scores"].mean(2), batch[1])

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        found = self.net(batch[0])
        self.log("read", found[self.reads].mean())
        self.val_acc(found["scores"].mean(2), batch[1])
        self.log("val_acc", self.val_acc)


class Curious(NamedSpotter):
    reads = "input"


def run_named(module: Spotter, path: Path, outputs: str) -> EspStreamingExport:
    callback = EspStreamingExport(
        output_dir=path / "bundle", dry_run=False, streaming=Streaming(outputs=outputs, time_axis=2)
    )
    fit(path, callback, module=module)
    return callback


def test_a_step_that_reads_a_dict_runs_with_the_integers_in_place(tmp_path: Path) -> None:
    pl.seed_everything(0, verbose=False)
    callback = run_named(NamedSpotter(), tmp_path, "scores")
    assert callback.bundle is not None
    metrics = callback.bundle.manifest["metrics"]["quantized"]["esp32s3"]
    assert metrics["val_acc"] == callback.bundle.manifest["metrics"]["float"]["val_acc"]
    assert metrics["output_snr_db"] > 20
    assert metrics["frame_agreement"] > 0.9


def test_a_step_that_reads_what_is_not_kept_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match=r"'input' of .* read.*outputs=\['scores', 'input'\]"):
        run_named(Curious(), tmp_path, "scores")

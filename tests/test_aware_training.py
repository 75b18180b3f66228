"""The last epochs compute as the chip does, and the export takes what they have seen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint, WeightAveraging
from torch import Tensor, nn

from lightning_esp import EspQuantAwareTraining, EspStreamingExport, Quantization
from lightning_esp.errors import ConfigurationError, EspdlOperatorError
from tests.models.runs import fit
from tests.models.spotter import Spotter, SpotterData

pytestmark = [pytest.mark.filterwarnings("ignore::UserWarning"), pytest.mark.filterwarnings("ignore::FutureWarning")]


def make_export(tmp_path: Path, **options: Any) -> EspStreamingExport:
    return EspStreamingExport(output_dir=tmp_path / "bundle", dry_run=False, **options)


def seen(export: EspStreamingExport) -> list[float]:
    assert export.bundle is not None
    proofs = json.loads((export.bundle.path / "manifest.json").read_text())["proofs"]
    return [proof["figure"] for proof in proofs if proof["name"] == "training saw the chip"]


class Watch(pl.Callback):
    """Notes in each epoch whether the network has a forward of its own, and what it gives for zeros."""

    def __init__(self) -> None:
        self.replaced: list[bool] = []
        self.steps: list[Tensor] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        self.replaced.append("forward" in vars(pl_module.net))

    def on_validation_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        if "forward" in vars(pl_module.net):
            info = next(c for c in trainer.callbacks if hasattr(c, "preparation")).preparation.quantized.outputs[
                "output"
            ]
            self.steps.append(pl_module.net(torch.ones(1, 6, 12)) / 2.0**info.exponent)


def test_the_last_epochs_compute_as_the_chip_and_the_export_takes_them(tmp_path: Path) -> None:
    export, watch = make_export(tmp_path, target=["esp32p4", "esp32s3"]), Watch()
    aware = EspQuantAwareTraining(start=2, target="esp32p4")
    _, module = fit(tmp_path, aware, export, watch, max_epochs=4)
    batches = len(watch.replaced) // 4
    assert watch.replaced == [False] * 2 * batches + [True] * 2 * batches
    assert "forward" not in vars(module.net)
    assert watch.steps
    assert all(torch.equal(step, step.round()) for step in watch.steps)
    assert seen(export) == [0]
    assert export.bundle is not None
    assert "training saw the chip: 0 of 288 output values differ" in json.dumps(export.bundle.report)


def test_a_run_that_is_resumed_in_the_middle_keeps_its_exponents(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = EspQuantAwareTraining(start=1, freeze=1)
    keep = ModelCheckpoint(tmp_path / "kept", save_last=True)
    fit(tmp_path, first, make_export(tmp_path), keep, max_epochs=2)
    again, export = EspQuantAwareTraining(start=1, freeze=1), make_export(tmp_path)
    trainer = pl.Trainer(
        callbacks=[again, export],
        max_epochs=3,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(Spotter(), datamodule=SpotterData(), ckpt_path=keep.last_model_path, weights_only=False)
    assert again.exponents == first.exponents
    assert seen(export) == [0]


def test_the_best_weights_are_those_of_the_chips_arithmetic(tmp_path: Path) -> None:
    class Steady(Spotter):
        """Its first epoch is the best one."""

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.net(batch[0])
            self.log("score", float(self.current_epoch))

    best = ModelCheckpoint(tmp_path / "best", monitor="score")
    export = make_export(tmp_path, quantization=Quantization(tolerance=float("inf")))
    fit(tmp_path, EspQuantAwareTraining(start=2), export, best, module=Steady(), max_epochs=4)
    assert torch.load(best.best_model_path, weights_only=False)["epoch"] == 2
    assert seen(export) == [0]


def test_averaged_weights_are_trained_and_exported(tmp_path: Path) -> None:
    export = make_export(tmp_path)
    average = WeightAveraging(avg_fn=lambda old, new, count: 0.7 * old + 0.3 * new)
    fit(tmp_path, EspQuantAwareTraining(start=1), export, average, max_epochs=3)
    assert seen(export) == [0]


def test_training_in_bfloat16_computes_the_integers_in_full(tmp_path: Path) -> None:
    export, watch = make_export(tmp_path), Watch()
    fit(tmp_path, EspQuantAwareTraining(start=1), export, watch, max_epochs=2, precision="bf16-mixed")
    assert all(torch.equal(step, step.round()) for step in watch.steps)
    assert seen(export) == [0]


class Compiled(Spotter):
    """Its network is compiled."""

    def __init__(self) -> None:
        super().__init__()
        self.net = torch.compile(self.net, backend="eager")  # type: ignore[assignment]


def test_a_compiled_network_is_replaced_and_comes_back(tmp_path: Path) -> None:
    export, module = make_export(tmp_path), Compiled()
    own = vars(module.net)["forward"]
    fit(tmp_path, EspQuantAwareTraining(start=1), export, module=module, max_epochs=2)
    assert vars(module.net)["forward"] is own
    assert seen(export) == [0]


def test_a_second_run_begins_anew(tmp_path: Path) -> None:
    export, aware = make_export(tmp_path), EspQuantAwareTraining(start=1)
    fit(tmp_path, aware, export, max_epochs=3)
    first = aware.exponents
    watch = Watch()
    fit(tmp_path, aware, export, watch, module=Spotter(0.1), max_epochs=3)
    batches = len(watch.replaced) // 3
    assert watch.replaced == [False] * batches + [True] * 2 * batches
    assert aware.exponents != first
    assert seen(export) == [0]


def test_an_exception_leaves_the_network_its_own_forward(tmp_path: Path) -> None:
    class Stops(pl.Callback):
        def on_train_batch_start(self, trainer: Any, pl_module: Any, *_: Any) -> None:
            if trainer.current_epoch == 1:
                raise RuntimeError("stop")

    module = Spotter()
    with pytest.raises(RuntimeError, match="stop"):
        fit(tmp_path, EspQuantAwareTraining(start=1), make_export(tmp_path), Stops(), module=module)
    assert "forward" not in vars(module.net)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"start": -1}, r"start=-1\) must be an epoch"),
        ({"start": 1.5}, r"start=1.5\) must be an epoch"),
        ({"start": 1, "freeze": 2.0}, r"freeze=2.0\) must be an epoch"),
        ({"start": "late"}, r"start='late'\) must be a whole number or a number"),
        ({"target": "esp8266"}, "esp8266"),
        ({"precision": "int4"}, r"precision='int4'\) must be 'int8' or 'int16' or None"),
    ],
)
def test_arguments_that_cannot_work_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        EspQuantAwareTraining(**options)


@pytest.mark.parametrize(
    ("aware", "quantization", "message"),
    [
        (
            EspQuantAwareTraining(target="esp32p4"),
            Quantization(),
            r"none of EspStreamingExport\(target=\['esp32s3'\]\)",
        ),
        (EspQuantAwareTraining(), Quantization("auto"), "chooses a precision after training"),
        (EspQuantAwareTraining(precision="int16"), Quantization(), "contradicts EspStreamingExport"),
        (EspQuantAwareTraining(), Quantization(equalization=True), "equalization=True"),
        (EspQuantAwareTraining(), Quantization(refinement="adaround"), "refinement='adaround'"),
        (EspQuantAwareTraining(start=2), Quantization(), "begins in epoch 2, and training ends after 2 epochs"),
    ],
)
def test_what_contradicts_the_export_is_told_before_training(
    tmp_path: Path, aware: EspQuantAwareTraining, quantization: Quantization, message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        fit(tmp_path, aware, make_export(tmp_path, quantization=quantization))


def test_there_must_be_an_export(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="the trainer has no EspStreamingExport"):
        fit(tmp_path, EspQuantAwareTraining())


def test_a_share_of_no_known_number_of_epochs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="give an epoch, start=10 say"):
        fit(tmp_path, EspQuantAwareTraining(0.5), make_export(tmp_path), max_epochs=-1, max_steps=3)


def test_a_step_that_goes_around_the_module_is_told(tmp_path: Path) -> None:
    class Around(Spotter):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            if self.current_epoch == 0:
                return super().training_step(batch, batch_idx)
            return self.net._rest(batch[0]).square().mean()

    with pytest.raises(ConfigurationError, match="training_step did not call it"):
        fit(tmp_path, EspQuantAwareTraining(start=1), make_export(tmp_path), module=Around())


def test_an_operator_without_a_form_is_named_before_training(tmp_path: Path) -> None:
    class Attends(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv1d(6, 4, 1)
            self.head = nn.Conv1d(4, 3, 1)

        def forward(self, x: Tensor) -> Tensor:
            y = self.conv(x)
            return self.head(y / (1.5 + torch.relu(y)))

    module = Spotter()
    module.net = Attends()  # type: ignore[assignment]
    with pytest.raises(EspdlOperatorError, match="has no form of Div yet"):
        fit(tmp_path, EspQuantAwareTraining(start=1), make_export(tmp_path), module=module)


def test_shares_of_the_epochs() -> None:
    assert [EspQuantAwareTraining(0.75).first_epoch(n) for n in (1, 4, 10)] == [0, 3, 8]
    assert EspQuantAwareTraining(0.7).first_epoch(10) == 7
    assert EspQuantAwareTraining(2).frozen_epoch(10) == 6
    assert EspQuantAwareTraining(2, 0.9).frozen_epoch(10) == 9
    assert EspQuantAwareTraining(4, 1).frozen_epoch(10) == 4

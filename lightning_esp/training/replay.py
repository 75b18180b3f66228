"""Running the user's own step over private loaders, under a fresh trainer of the user's own class."""

from __future__ import annotations

import importlib
import logging
import math
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MethodType
from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from torchmetrics import Metric

from lightning_esp.errors import LightningEspError, StepError
from lightning_esp.training.copying import isolate_random
from lightning_esp.training.package import is_lightning, package_of
from lightning_esp.training.sources import is_user_defined
from lightning_esp.training.stand_in import show_optimizers, stand_in_for

TRANSFER_HOOKS = ("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer")
LIFECYCLE = ("prepare_data", "setup", "configure_model", "configure_callbacks", "teardown", "on_exception")


@dataclass(frozen=True)
class Replay:
    """One run of a step of the user over loaders.

    Args:
        trainer: the user's trainer; its class, the package that it comes from and its figures are used.
        module: a copy of the LightningModule, which is changed.
        loaders: private loaders.
        step: `"validation_step"`, `"test_step"` or `"training_step"`.
        datamodule: a copy of the datamodule, which is changed: its batch transfer hooks are applied, and steps see it
            in their trainer.
        limit: batches, or share of them, per loader; None: all.
        seed: seed of every global random state during the run; they are put back behind it.
        on_batch: called with every batch before the step.
        guarded: look like a sanity check; a step that does nothing in one must run otherwise.
    """

    trainer: Trainer
    module: LightningModule
    loaders: Any
    step: str
    datamodule: Any = None
    limit: float | None = None
    seed: int = 0
    on_batch: Callable[[Any], None] | None = None
    guarded: bool = True

    def run(self) -> dict[str, float]:
        """Run it and return the finite metrics by the name that the step logs.

        Raises:
            StepError: the step, a hook around it or its data failed.
        """
        detach_from_world(self.module, self.datamodule, self.step)
        try:
            return self._run()
        except LightningEspError:
            raise
        except Exception as error:  # whatever the user's code raises
            raise StepError(_explain(self.module, self.step, error)) from error

    def _run(self) -> dict[str, float]:
        if self.step == "training_step" and not self.module.automatic_optimization:
            return self._fit()
        if self.step == "training_step":
            # Without an optimizer, and in evaluation mode: what matters is what the network sees.
            vars(self.module)["validation_step"] = self.module.training_step
        return self._test() if self.step == "test_step" else self._validate()

    def _validate(self) -> dict[str, float]:
        fresh = self._stand_in(limit_val_batches=self.limit)
        with self._alone(fresh, "on_validation_batch_start"):
            fresh.validate(self.module, dataloaders=self.loaders, verbose=False)
        return _finite(fresh)

    def _test(self) -> dict[str, float]:
        fresh = self._stand_in(limit_test_batches=self.limit)
        with self._alone(fresh, "on_test_batch_start"):
            fresh.test(self.module, dataloaders=self.loaders, verbose=False)
        return _finite(fresh)

    def _stand_in(self, **limits: Any) -> Trainer:
        return make_trainer(self.trainer, lambda kind: stand_in_for(self.trainer, kind, self.guarded), **limits)

    def _fit(self) -> dict[str, float]:
        """Manual optimization needs optimizers; the copy may well be trained by them."""
        fresh = make_trainer(self.trainer, max_epochs=1, limit_train_batches=self.limit, limit_val_batches=0)
        with self._alone(fresh, "on_train_batch_start"), torch.enable_grad():
            fresh.fit(self.module, train_dataloaders=self.loaders)
        return {}

    @contextmanager
    def _alone(self, fresh: Trainer, hook: str) -> Iterator[None]:
        original = getattr(self.module, hook)

        def listen(batch: Any, *args: Any, **kwargs: Any) -> Any:
            # Here, not earlier: `setup("test")` may have made metrics.
            _keep_local(self.module)
            if self.on_batch is not None:
                self.on_batch(batch)
            return original(batch, *args, **kwargs)

        vars(self.module)[hook] = listen
        show_optimizers(self.module, self.trainer)
        if self.datamodule is not None:
            self.datamodule.trainer = fresh
            vars(fresh)["datamodule"] = self.datamodule
        with isolate_random(self.seed), quiet(), torch.inference_mode(False):
            yield


def _finite(trainer: Any) -> dict[str, float]:
    values = {name: float(value) for name, value in trainer.own_metrics.items()}
    return {name: value for name, value in values.items() if math.isfinite(value)}


def _explain(module: LightningModule, step: str, error: Exception) -> str:
    """Explain which hook failed, and how to keep it out of such runs."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    of_user = [f for f in frames if f.f_locals.get("self") is module and not is_lightning(f.f_globals["__name__"])]
    hook = of_user[0].f_code.co_name if of_user else step
    place = f"{Path(of_user[-1].f_code.co_filename).name}, line {of_user[-1].f_lineno}" if of_user else "its data"
    return (
        f"{hook} of {type(module).__name__} failed while EspStreamingExport ran {step}: {type(error).__name__}: {error} "
        f"({place}). The callback runs the step before the first epoch and when fit ends, on copies and under a trainer of its "
        "own, in which there was no training; it looks like a sanity check. Guard what needs the real run: `if not "
        "self.trainer.sanity_checking: ...`."
    )


def make_trainer(
    trainer: Trainer, change: Callable[[type[Trainer]], type[Trainer]] = lambda kind: kind, **options: Any
) -> Trainer:
    """Make a silent trainer for one CPU process, of the same class as the user's.

    A subclass whose constructor takes other arguments is replaced by the Trainer of its package.

    Args:
        trainer: the user's.
        change: what to make of the class of trainers.
        options: of the trainer to make.
    """
    package = package_of(trainer)
    options |= {
        "accelerator": "cpu",
        "devices": 1,
        # Steps call `self.logger.experiment.add_...`; this logger takes anything and keeps nothing.
        "logger": importlib.import_module(f"{package}.loggers.logger").DummyLogger(),
        "default_root_dir": trainer.default_root_dir,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "use_distributed_sampler": False,
        # A tensor made in inference mode could not be used for anything afterwards.
        "inference_mode": False,
        # In a cluster job or under DDP, the trainer would otherwise look for the other processes.
        "plugins": [importlib.import_module(f"{package}.plugins.environments").LightningEnvironment()],
    }
    with quiet():
        try:
            return change(type(trainer))(**options)
        except TypeError:
            return change(importlib.import_module(package).Trainer)(**options)


def combine(trainer: Trainer, loaders: Any) -> Any:
    """Make training loaders give what `training_step` gets: one batch of each at once, where there are several."""
    if not isinstance(loaders, list | dict):
        return loaders
    return importlib.import_module(f"{package_of(trainer)}.utilities").CombinedLoader(loaders, "max_size")


def detach_from_world(module: LightningModule, datamodule: Any, step: str) -> None:
    """Make copies of what is the user's fit for a run of their own."""
    # The fresh trainer finds them again; the copied names would still lead to metrics of the original.
    module._metric_attributes = None
    for child in module.modules():
        if isinstance(child, Metric):
            child.reset()
    # Both were set up by the user's trainer. To build layers again would lose the weights, to tear down may delete data;
    # but what only a test needs was not made by `fit`.
    for hook in LIFECYCLE:
        if hook != "setup" or step != "test_step":
            _inherit(module, hook)
        _inherit(datamodule, hook)
    for hook in TRANSFER_HOOKS:
        if is_user_defined(datamodule, hook):
            vars(module)[hook] = getattr(datamodule, hook)


def _inherit(holder: Any, hook: str) -> None:
    """Give an instance Lightning's own hook in the place of the user's.

    Lightning must take it for not overridden: before `prepare_data` it waits for all processes.
    """
    for cls in type(holder).__mro__:
        if is_lightning(cls.__module__) and hook in vars(cls):
            vars(holder)[hook] = MethodType(vars(cls)[hook], holder)
            return


def _keep_local(module: LightningModule) -> None:
    """Under DDP the process group is still up, and no other process takes part in this run."""
    for child in module.modules():
        if isinstance(child, Metric):
            child.distributed_available_fn = lambda: False


@contextmanager
def quiet() -> Iterator[None]:
    """Keep Lightning's hints on workers, devices and checkpoints to the user's own runs."""
    names = ("pytorch_lightning", "lightning.pytorch", "lightning_fabric", "lightning.fabric")
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)

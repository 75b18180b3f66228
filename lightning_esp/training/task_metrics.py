"""Proof 5: the user's own validation and test steps, with the integer stream in the place of the float network."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from lightning_esp.training.comparison import MOST_CLASSES, Comparison, DecisionRecorder, decision_agreement
from lightning_esp.training.loaders import make_private
from lightning_esp.training.replay import Replay
from lightning_esp.training.sources import find_source, is_user_defined
from lightning_esp.training.stand_in import past_metrics
from lightning_esp.training.subject import Subject
from lightning_esp.training.weights import find_monitor
from lightning_esp.verification import Proof, TaskResult

STEPS = {"validation": "validation_step", "test": "test_step"}
# Words in the names of metrics, of which more is better, or less; losses are unbounded, so no tolerance fits them.
MORE = {"acc", "accuracy", "f1", "auroc", "auc", "precision", "recall", "iou", "map", "specificity", "sensitivity"}
LESS = {"error", "err", "wer", "cer", "eer", "frr", "far"}


@dataclass(frozen=True)
class Run:
    """Results of one run of a step.

    Args:
        metrics: what the step logged.
        decisions: classes that the step's torchmetrics were given.
        counts: of these by the class that was true (rows) and decided (columns); empty where that is not known.
    """

    metrics: dict[str, float]
    decisions: list[Tensor] = field(repr=False)
    counts: list[list[int]] = field(default_factory=list, repr=False)


class TaskMetrics:
    """Judges the integer stream of one target after the other by the user's own steps; float metrics are run once.

    Args:
        subject: what is exported.
        tolerance: how much a metric between 0 and 1 may get worse; two changed recordings are always allowed, since
            fewer prove nothing.
        limit: batches per loader; None: what the user's trainer is limited to.
        seed: seed of the global random states in every run, so that all see the same data.
        rehearsal: make no proofs, since weights that are not trained yet prove nothing, and leave data alone that cannot
            be copied.
    """

    def __init__(
        self, subject: Subject, tolerance: float, *, limit: int | None = None, seed: int = 0, rehearsal: bool = False
    ) -> None:
        self._subject = subject
        self._tolerance = tolerance
        self._limit = limit
        self._seed = seed
        self._rehearsal = rehearsal
        self._guarded = True
        self._float_runs: dict[str, Run | str | None] = {}

    def __call__(self, stream: nn.Module) -> TaskResult:
        """Run validation and test data through the integer stream.

        Args:
            stream: takes what the exported module takes, with a batch dimension, and returns its output.

        Returns:
            Metrics by the name that the steps log, and of the stream `decision_agreement`, `frame_agreement` and
            `output_snr_db` (`test_...` for the test data). A metric that got worse by more than the tolerance is a
            failed proof.
        """
        result = TaskResult({}, {}, (), ())
        for name in STEPS:
            result = _merge(result, self._judge(name, stream))
        return result

    def _judge(self, name: str, stream: nn.Module) -> TaskResult:
        if name not in self._float_runs:
            self._float_runs[name] = self._run_float(name)
        floating = self._float_runs[name]
        if isinstance(floating, str):
            return TaskResult({}, {}, (), (floating,))
        if floating is None:
            return TaskResult({}, {}, (), (f"There are no {name} data with a {STEPS[name]}, so none were evaluated.",))
        integer, comparison = self._run(name, stream)
        assert integer is not None
        assert comparison is not None
        if comparison.recordings == 0 and self._guarded:
            # A step that returns at once in a sanity check.
            self._guarded = False
            del self._float_runs[name]
            return self._judge(name, stream)
        if comparison.recordings == 0:
            note = f"{STEPS[name]} does not call {self._subject.name}, so its metrics say nothing about the stream."
            return TaskResult({}, {}, (), (note,))
        extra = _agreements("test_" if name == "test" else "", floating, integer, comparison)
        proofs = () if self._rehearsal else self._prove(floating.metrics, integer.metrics, comparison.recordings)
        confusion = _confusion(name, floating, integer, comparison)
        notes = () if self._rehearsal else self._say_missing(name, floating)
        return TaskResult(floating.metrics, {**integer.metrics, **extra}, proofs, notes, confusion)

    def _say_missing(self, name: str, floating: Run) -> tuple[str, ...]:
        """Metrics of the training's own validation that the run, which looks like a sanity check, did not log."""
        monitor, known = find_monitor(self._subject.trainer), past_metrics(self._subject.trainer)
        missing = [n for n in known if n.startswith("val") and n not in floating.metrics and _direction(n, monitor)]
        if name != "validation" or not missing:
            return ()
        return (
            f"{', '.join(missing)}: logged in training, but not where the callback ran {STEPS[name]}, which looks like a sanity "
            "check; not compared between float and integers.",
        )

    def _run_float(self, name: str) -> Run | str | None:
        """The float network's run; for test data that cannot be had, why not: training is over by then."""
        try:
            return self._run(name, None)[0]
        except Exception as error:  # what loading someone's data raises is anyone's guess
            if name != "test":
                raise
            return f"The test data were not evaluated, since they cannot be used ({type(error).__name__}: {error})."

    def _run(self, name: str, stream: nn.Module | None) -> tuple[Run | None, Comparison | None]:
        trainer, module, data = self._subject.trainer, self._subject.copy_module(), self._subject.copy_datamodule()
        limit = self._limit if self._limit is not None else getattr(trainer, f"limit_{_short(name)}_batches")
        if not is_user_defined(module, STEPS[name]) or limit == 0 or (self._rehearsal and name == "test"):
            return None, None
        if name == "test" and is_user_defined(data, "test_dataloader"):
            data.setup("test")
        source = find_source(name, trainer, module, data)
        private = None if source is None else make_private(source.loaders)
        if private is None or (self._rehearsal and private.failure):
            return None, None
        comparison = None if stream is None else Comparison(module.get_submodule(self._subject.path), stream)
        recorder = DecisionRecorder(module)

        def start_batch(batch: Any) -> None:
            recorder.start_batch()
            if comparison is not None:
                comparison.start_batch(batch)

        metrics = Replay(
            trainer,
            module,
            private.loaders,
            STEPS[name],
            datamodule=data,
            limit=limit,
            seed=self._seed,
            on_batch=start_batch,
            guarded=self._guarded,
        ).run()
        return Run(metrics, recorder.decisions, recorder.count()), comparison

    def _prove(self, floating: Mapping[str, float], integer: Mapping[str, float], recordings: int) -> tuple[Proof, ...]:
        monitor = find_monitor(self._subject.trainer)
        limit = max(self._tolerance, 2 / recordings)
        proofs = []
        for name, value in floating.items():
            sign = _direction(name, monitor)
            if sign == 0 or name not in integer or not (0 <= value <= 1 and 0 <= integer[name] <= 1):
                continue
            worse = sign * (value - integer[name])
            proofs.append(_proof(name, value, integer[name], worse, limit, recordings))
        return tuple(proofs)


def _short(name: str) -> str:
    return "val" if name == "validation" else "test"


def _agreements(prefix: str, floating: Run, integer: Run, comparison: Comparison) -> dict[str, float]:
    found = {
        "decision_agreement": decision_agreement(floating.decisions, integer.decisions),
        "frame_agreement": comparison.frame_agreement,
        "output_snr_db": comparison.noise_ratio,
    }
    return {prefix + name: value for name, value in found.items() if value is not None}


def _confusion(name: str, floating: Run, integer: Run, comparison: Comparison) -> dict[str, Any]:
    """Decisions against targets where the step's metrics were given both, else frames of float against integers."""
    if integer.counts and floating.counts:
        size = max(len(integer.counts), len(floating.counts))
        counts = {"counts": _pad(integer.counts, size), "float_counts": _pad(floating.counts, size)}
        return {"rows": "target", "data": name, **counts}
    frames = comparison.frame_counts
    if frames and len(frames) <= MOST_CLASSES:
        return {"rows": "float", "data": name, "counts": frames}
    return {}


def _pad(counts: list[list[int]], size: int) -> list[list[int]]:
    """A class that was neither true nor decided in one run may be in the other."""
    wide = [[*row, *[0] * (size - len(row))] for row in counts]
    return [*wide, *[[0] * size for _ in range(size - len(wide))]]


def _direction(name: str, monitor: Any) -> int:
    """1 if more is better, -1 if less is better, 0 if that is not known or no tolerance fits."""
    words = set(re.split(r"[^a-z0-9]+", name.lower()))
    if "loss" in words or "step" in words:
        return 0
    if words & MORE or (monitor is not None and monitor.monitor == name and monitor.mode == "max"):
        return 1
    return -1 if words & LESS else 0


def _proof(name: str, floating: float, integer: float, worse: float, limit: float, recordings: int) -> Proof:
    return Proof(
        name=f"{name} of the integer stream is no worse than that of the float network",
        figure=max(0.0, worse),
        limit=limit,
        # Metrics are float32, so a difference at the limit may come out above it.
        passed=worse <= limit + 1e-6,
        where=f"{name} is {floating:.4f} in float and {integer:.4f} in integers, on {recordings} recordings",
        next_step=(
            "Calibrate with more recordings, Calibration(max_recordings=512) say; try another Quantization(method=...); keep "
            "sensitive layers in int16, Quantization(int16=('path',)); or allow more, Quantization(tolerance=...)."
        ),
    )


def _merge(a: TaskResult, b: TaskResult) -> TaskResult:
    return TaskResult(
        {**a.float_metrics, **b.float_metrics},
        {**a.quantized_metrics, **b.quantized_metrics},
        (*a.proofs, *b.proofs),
        (*a.notes, *b.notes),
        a.confusion or b.confusion,
    )

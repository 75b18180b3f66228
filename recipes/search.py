"""A search over architectures: many small trainings of a recipe, judged by what the chip would do, at what cost.

    python recipes/search.py --trials 24 --jobs 2                   # channels, kernels, depth and stem of kws_tcn.py
    python recipes/search.py --space my_space.yaml --recipe my_recipe.py --metric val_acc --cost flash
    python recipes/search.py --trials 0                             # the front so far, without another trial
    python recipes/search.py --trials 24 -- --data.root FOLDER --trainer.max_epochs 30      # options of the recipe

Every trial is one `fit` of the recipe in a process of its own. What cannot be exported ends in the dry run before the first
epoch; else the task metric is that of the integer stream, by the run's own validation step, and the cost the export's
estimate. Optuna proposes the next trial and keeps them all in `--storage`: the same command goes on after it was stopped, and
run on several machines with one database it shares the work. A bundle of each trial lies in `--out`.

`--space` is a YAML file of options of the recipe, each with the list of values to choose from.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import yaml  # type: ignore[import-untyped]  # optuna brings it
from optuna.trial import FrozenTrial, Trial, TrialState

HERE = Path(__file__).parent
SPACE: dict[str, list[Any]] = {
    "model.channels": [12, 16, 24, 32, 48, 64],
    "model.kernel": [3, 5, 7],
    "model.dilations": [[1, 2, 4], [1, 2, 4, 8], [1, 2, 4, 8, 1, 2, 4, 8]],
    "model.maps": [[], [4, 8], [8, 16], [16, 24, 32]],
}
COSTS = {"step_us": "microseconds of the costliest frame step", "flash": "bytes of the model", "ram": "bytes of RAM"}
# A trial is judged by its metric, whatever that lost to float; a detector's thresholds are worth their time at the end alone.
FIXED = (
    "--export.quantization.precision=int8",
    "--export.quantization.tolerance=.inf",
    "--export.quantization.min_snr_db=-100",
    "--export.deployment.detector=null",
    "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false",
    "--trainer.logger=false",
)
# Seconds between two signs of life of a trial, and without one until another process takes it over.
HEARTBEAT, GRACE = 30, 120


class SearchError(Exception):
    """A question that no trial of this search could answer."""


@dataclass(frozen=True)
class Search:
    """A search, as far as all trials have it in common.

    Args:
        recipe: a script with a LightningCLI that exports.
        space: values to choose from, by option.
        metric: name that the recipe's validation step logs; more is better.
        cost: `"step_us"`, `"flash"` or `"ram"`; less is better.
        target: the chip.
        out: folder of the trials.
        options: more options of the recipe.
        threads: of each trial.
    """

    recipe: Path
    space: Mapping[str, Sequence[Any]]
    metric: str
    cost: str
    target: str
    out: Path
    options: Sequence[str]
    threads: int

    def __call__(self, trial: Trial) -> tuple[float, float]:
        """Train and export once, and return metric and cost.

        Raises:
            TrialPruned: the recipe failed, in its dry run say. Optuna learns from it what to leave alone.
            SearchError: metric or cost are none that the recipe's exports have.
        """
        chosen = {n: trial.suggest_categorical(n, [json.dumps(v) for v in vs]) for n, vs in self.space.items()}
        folder = self.out / f"trial_{trial.number:04}"
        folder.mkdir(parents=True, exist_ok=True)
        where = [f"--export.output_dir={folder / 'bundle'}", f"--trainer.default_root_dir={folder}"]
        named = [f"--{name}={value}" for name, value in chosen.items()]
        command = [sys.executable, str(self.recipe), "fit", *FIXED, f"--export.target={self.target}", *where]
        log = folder / "log.txt"
        with log.open("w", encoding="utf-8") as file:
            done = subprocess.run(
                [*command, *self.options, *named],
                stdout=file,
                stderr=subprocess.STDOUT,
                env=os.environ | {"OMP_NUM_THREADS": str(self.threads)},
                check=False,
            )
        if done.returncode != 0:
            trial.set_user_attr("error", find_error(log.read_text(encoding="utf-8")))
            raise optuna.TrialPruned(trial.user_attrs["error"])
        return self._read(trial, folder / "bundle")

    def _read(self, trial: Trial, bundle: Path) -> tuple[float, float]:
        manifest = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))
        figures, estimate = manifest["metrics"]["quantized"][self.target], manifest["targets"][self.target]["estimate"]
        if self.metric not in figures:
            raise SearchError(f"--metric {self.metric}: the recipe logs {sorted(figures)}.")
        if estimate[self.cost] is None:
            raise SearchError(f"--cost {self.cost}: nobody has published figures for {self.target}; take flash or ram.")
        for name in COSTS:
            trial.set_user_attr(name, estimate[name])
        return float(figures[self.metric]), float(estimate[self.cost])


def find_error(log: str) -> str:
    r"""Return the line of a log that names the error; its last line where none does.

    Example:
        >>> find_error("Epoch 0\nlightning_esp.errors.BudgetError: too large\nmore")
        'lightning_esp.errors.BudgetError: too large'
    """
    lines = [line for line in log.splitlines() if line.strip()] or ["it printed nothing"]
    found = [line for line in lines if re.match(r"[\w.]*(Error|Exception)\b.*:|error:", line)]
    return (found or lines)[-1]


def open_study(storage: str, name: str) -> optuna.Study:
    """Open a study, or make it; trials whose process died are tried once more."""
    database = optuna.storages.RDBStorage(
        storage,
        heartbeat_interval=HEARTBEAT,
        grace_period=GRACE,
        heartbeat_stale_trial_callback=optuna.storages.RetryHeartbeatStaleTrialCallback(max_retry=1),
    )
    study = optuna.create_study(
        storage=database, study_name=name, directions=["maximize", "minimize"], load_if_exists=True
    )
    # Of a seed alone, a search that goes on would propose again what it has tried.
    seed = len(study.get_trials(deepcopy=False))
    study.sampler = optuna.samplers.TPESampler(n_startup_trials=8, seed=seed)
    return study


def describe_front(study: optuna.Study, metric: str, cost: str) -> str:
    """Return the trials that no other beats in both figures, the cheapest first, as a table."""
    header = f"{'trial':>5} {metric:>9} {cost:>9}  options"
    rows = [
        f"{trial.number:5} {trial.values[0]:9.4f} {trial.values[1]:9.0f}  "
        + ", ".join(f"{name.rpartition('.')[2]} {value}" for name, value in trial.params.items())
        for trial in sort_front(study)
    ]
    return "\n".join([header, *rows])


def sort_front(study: optuna.Study) -> list[FrozenTrial]:
    """Return the trials of the Pareto front, each figure once, the cheapest first."""
    distinct = {tuple(trial.values): trial for trial in reversed(study.best_trials)}
    return sorted(distinct.values(), key=lambda trial: trial.values[1])


def draw_front(study: optuna.Study, metric: str, cost: str, path: Path) -> None:
    """Draw all trials, and the front through the best of them."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    done = [trial for trial in study.get_trials(deepcopy=False) if trial.state == TrialState.COMPLETE]
    front = sort_front(study)
    figure, axes = pyplot.subplots(figsize=(6, 4))
    axes.scatter([t.values[1] for t in done], [t.values[0] for t in done], color="0.6", label="trials")
    axes.step([t.values[1] for t in front], [t.values[0] for t in front], where="post", label="Pareto front")
    for trial in front:
        axes.annotate(str(trial.number), trial.values[::-1], textcoords="offset points", xytext=(4, 4))
    axes.set(xlabel=COSTS[cost], ylabel=f"{metric} of the integer stream")
    axes.legend()
    figure.tight_layout()
    figure.savefig(path)
    pyplot.close(figure)


def read_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line; what stands behind `--` is for the recipe."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", type=Path, default=HERE / "kws_tcn.py")
    parser.add_argument("--space", type=Path, help="YAML: option of the recipe -> list of values")
    parser.add_argument("--metric", default="val_acc", help="of the validation step; more is better")
    parser.add_argument("--cost", choices=COSTS, default="step_us")
    parser.add_argument("--target", default="esp32s3")
    parser.add_argument("--trials", type=int, default=24, help="that shall be complete in all")
    parser.add_argument("--jobs", type=int, default=1, help="trials at once on this machine")
    parser.add_argument("--minutes", type=float, help="behind which no trial begins")
    parser.add_argument("--out", type=Path, default=Path("runs/search"))
    parser.add_argument("--storage", help="URL of a database; default: a file in --out")
    parser.add_argument("--study", default="search")
    parser.add_argument("options", nargs="*", help="options of the recipe, behind --")
    return parser.parse_args(arguments)


def main() -> None:
    """Run trials until there are enough, then print and draw the front."""
    given = read_arguments()
    # Heartbeats; the version of optuna is pinned.
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    given.out.mkdir(parents=True, exist_ok=True)
    space = yaml.safe_load(given.space.read_text(encoding="utf-8")) if given.space else SPACE
    threads = max(1, (os.cpu_count() or 1) // given.jobs)
    study = open_study(given.storage or f"sqlite:///{given.out.resolve() / 'study.db'}", given.study)
    search = Search(
        given.recipe, space, given.metric, given.cost, given.target, given.out.resolve(), given.options, threads
    )
    enough = optuna.study.MaxTrialsCallback(given.trials, states=(TrialState.COMPLETE,))
    done = sum(trial.state == TrialState.COMPLETE for trial in study.get_trials(deepcopy=False))
    if done < given.trials:
        study.optimize(
            search,
            n_jobs=given.jobs,
            # Failed ones cost seconds; many in a row say that the space holds nothing.
            n_trials=2 * (given.trials - done) + 8,
            timeout=None if given.minutes is None else 60 * given.minutes,
            callbacks=[enough],
        )
    for trial in study.get_trials(deepcopy=False):
        if "error" in trial.user_attrs:
            print(f"trial {trial.number} failed: {trial.user_attrs['error']}")
    if not study.best_trials:
        raise SystemExit("No trial gave a bundle; the folders in --out hold their logs.")
    print(describe_front(study, given.metric, given.cost))
    draw_front(study, given.metric, given.cost, given.out / "pareto.png")
    print(f"{given.out / 'pareto.png'} draws it; a bundle of each trial lies beside it.")


if __name__ == "__main__":
    main()

"""Channels of a trained network taken out until it fits a budget, then trained further: what that costs in accuracy.

    python recipes/prune.py runs/kws_tcn/version_0/checkpoints/NAME.ckpt --step_us 400
    python recipes/prune.py CHECKPOINT --flash 40000 --ram 60000 --target esp32p4 --epochs 12 --root FOLDER

The checkpoint is one of kws_tcn.py. `torch-pruning` finds which channels hang together, over skip connections and depthwise
convolutions; eight at a time go, those first whose weights are small for the microseconds that they take on the chip, until
the estimate keeps the budget. The network is then trained for a few epochs, and exported with that budget as a limit. In small
networks most of the time is that of operators, whatever their width: fewer channels save flash and RAM there, fewer blocks
save time.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
import torch_pruning
from kws_tcn import KeywordSpotter
from pytorch_lightning.callbacks import ModelCheckpoint
from speech_data import SpeechData
from torch import Tensor, nn

from lightning_esp import Budget, Deployment, EspStreamingExport, Quantization, calibrate, convert, quantize
from lightning_esp.cost import Estimate, check_budget
from lightning_esp.errors import BudgetError, ConfigurationError
from lightning_esp.quantization import Worker

# Share of every limit that stays free: calibrated with recordings, the export may need more operators, around its caches say.
RESERVE = 0.15
# So many channels go at a time, and stay at least: the chips compute 8 or 16 at once.
MULTIPLE = 8
FRAMES = 98


class CostImportance(torch_pruning.importance.GroupMagnitudeImportance):  # type: ignore[misc]
    """The magnitude of a channel's weights for each microsecond that the channel takes.

    Args:
        microseconds: of each layer, by its path.
        network: whose layers they are.
    """

    def __init__(self, microseconds: Mapping[str, float], network: nn.Module) -> None:
        super().__init__(p=2)
        self._microseconds = {module: microseconds.get(path, 0.0) for path, module in network.named_modules()}

    def __call__(self, group: Any) -> Tensor | None:
        """Return the importance of each channel of a group."""
        magnitude: Tensor | None = super().__call__(group)
        if magnitude is None:
            return None
        layers = {dependency.target.module for dependency, _ in group}
        cost = sum(self._microseconds.get(layer, 0.0) for layer in layers) / len(magnitude)
        return magnitude / max(cost, 1e-3)


def estimate(network: nn.Module, bands: int, target: str, worker: Worker) -> Estimate:
    """Estimate what a network costs on a chip: its structure does, whatever its weights are."""
    example = torch.randn(bands, FRAMES, generator=torch.Generator().manual_seed(0))
    model = convert(network, example)
    found = quantize(model, calibrate(model, [example]), Quantization(), target, worker=worker).estimate
    assert found is not None
    return found


def measure_layers(cost: Estimate, network: nn.Module) -> dict[str, float]:
    """Return the microseconds of each layer of a network by its path."""
    found: dict[str, float] = {path: 0.0 for path, _ in network.named_modules()}
    for layer in (layer for stage in cost.stages for layer in stage.layers):
        path = layer.name.partition(" ")[0]
        found[path] = found.get(path, 0.0) + (layer.microseconds or 0.0)
    return found


def shrink(network: nn.Module, bands: int, microseconds: Mapping[str, float]) -> Iterator[nn.Module]:
    """Yield copies of a network, each with a few channels less, until every layer is as narrow as it gets.

    Args:
        network: a trained network; left as it is, and so are the outputs of its last layer.
        bands: of its input.
        microseconds: of each layer, by its path.
    """
    pruned = copy.deepcopy(network)
    kinds = (nn.Conv1d, nn.Conv2d, nn.Linear)
    last = [module for module in pruned.modules() if isinstance(module, kinds)][-1]
    importance, example = CostImportance(microseconds, pruned), torch.zeros(1, bands, FRAMES)
    while True:
        graph = torch_pruning.DependencyGraph().build_dependency(pruned, example_inputs=example)
        groups = graph.get_all_groups(ignored_layers=[last], root_module_types=list(kinds))
        scored = [(group, score) for group in groups if (score := importance(group)) is not None]
        found = [
            (float(s.sort().values[:MULTIPLE].sum()), n, g, s) for n, (g, s) in enumerate(scored) if len(s) > MULTIPLE
        ]
        if not found:
            return
        _, _, group, score = min(found, key=lambda entry: entry[:2])
        root, least = group[0].dep, sorted(score.argsort()[:MULTIPLE].tolist())
        graph.get_pruning_group(root.target.module, root.handler, least).prune()
        yield copy.deepcopy(pruned)


def prune_to_budget(
    network: nn.Module, bands: int, budget: Budget, measure: Callable[[nn.Module], Estimate]
) -> tuple[nn.Module, Estimate]:
    """Take out channels until the budget holds.

    Args:
        network: a trained network; left as it is.
        bands: of its input.
        budget: limits of the estimate.
        measure: estimates a network.

    Returns:
        The pruned network and its estimate.

    Raises:
        BudgetError: it does not fit with every layer as narrow as it gets.
    """
    best, cost = copy.deepcopy(network), measure(network)
    for narrower in shrink(network, bands, measure_layers(cost, network)):
        if holds(cost, budget):
            break
        best, cost = narrower, measure(narrower)
    check_budget(cost, budget)
    return best, cost


def keep_reserve(budget: Budget) -> Budget:
    """Return a budget that is a little tighter."""
    flash, ram, step_us = (
        None if limit is None else (1 - RESERVE) * limit for limit in (budget.flash, budget.ram, budget.step_us)
    )
    return Budget(None if flash is None else int(flash), None if ram is None else int(ram), step_us)


def holds(cost: Estimate, budget: Budget) -> bool:
    """Tell whether an estimate keeps a budget."""
    try:
        check_budget(cost, budget)
    except BudgetError:
        return False
    return True


def describe(name: str, cost: Estimate, accuracy: float) -> str:
    """Return a line of the table."""
    step = "-" if cost.step_us is None else f"{cost.step_us:.0f} us"
    return f"{name:28} {100 * accuracy:6.1f} % {step:>9} {cost.flash:9,} {cost.ram:9,}"


def validate(spotter: KeywordSpotter, data: SpeechData, trainer: pl.Trainer) -> float:
    """Return the accuracy on the validation clips."""
    return float(trainer.validate(spotter, data, verbose=False)[0]["val_acc"])


def read_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--step_us", type=float)
    parser.add_argument("--flash", type=int)
    parser.add_argument("--ram", type=int)
    parser.add_argument("--target", default="esp32s3")
    parser.add_argument("--root", type=Path, help="of the data; default: the tiny set")
    parser.add_argument("--epochs", type=int, default=14)
    parser.add_argument("--learning_rate", type=float, help="default: that of the checkpoint")
    parser.add_argument("--tolerance", type=float, default=0.02, help="that integers may lose of the accuracy")
    parser.add_argument("--out", type=Path, default=Path("runs/pruned"))
    parser.add_argument("--batches", type=int, help="of an epoch, for a try")
    return parser.parse_args(arguments)


def main() -> None:
    """Prune, train, export, and print what each step cost."""
    given = read_arguments()
    budget = Budget(given.flash, given.ram, given.step_us)
    if budget == Budget():
        raise ConfigurationError("prune.py needs a limit: --step_us, --flash or --ram.")
    spotter = KeywordSpotter.load_from_checkpoint(given.checkpoint, map_location="cpu")
    spotter.learning_rate = given.learning_rate or spotter.learning_rate
    data = SpeechData(**({} if given.root is None else {"root": given.root}))
    bands = int(spotter.hparams["bands"])
    quiet: dict[str, Any] = {"enable_progress_bar": False, "enable_model_summary": False}
    judge = pl.Trainer(logger=False, enable_checkpointing=False, default_root_dir=given.out, **quiet)
    with Worker() as worker:
        before = estimate(spotter.network.eval(), bands, given.target, worker)
        lines = [describe("as it was", before, validate(spotter, data, judge))]
        spotter.network, cost = prune_to_budget(
            spotter.network.eval(),
            bands,
            keep_reserve(budget),
            lambda network: estimate(network, bands, given.target, worker),
        )
    lines.append(describe("pruned", cost, validate(spotter, data, judge)))
    export = EspStreamingExport(
        given.target,
        given.out / "bundle",
        quantization=Quantization("auto", tolerance=given.tolerance),
        deployment=Deployment(budget=budget),
    )
    best = ModelCheckpoint(given.out, monitor="val_loss")
    trainer = pl.Trainer(
        max_epochs=given.epochs,
        callbacks=[best, export],
        logger=False,
        default_root_dir=given.out,
        limit_train_batches=given.batches,
        **quiet,
    )
    trainer.fit(spotter, data)
    assert export.bundle is not None
    metrics = export.bundle.manifest["metrics"]
    lines.append(describe("and trained further", cost, metrics["float"]["val_acc"]))
    lines.append(describe("and in integers", cost, metrics["quantized"][given.target]["val_acc"]))
    print(f"{'network':28} {'val_acc':>8} {'step':>9} {'flash':>9} {'ram':>9}")
    print("\n".join(lines))
    print(f"The bundle lies in {given.out / 'bundle'}.")


if __name__ == "__main__":
    main()

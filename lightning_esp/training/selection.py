"""Selection of the submodule of a LightningModule that is exported."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.loss import _Loss
from torch.optim.swa_utils import AveragedModel
from torchmetrics import Metric, MetricCollection

from lightning_esp.conversion import inner_module
from lightning_esp.errors import ConfigurationError

WHOLE = "."


def find_module(root: nn.Module, path: str | None) -> str:
    """Return the path of the module to export, in dots; `""` for the LightningModule itself.

    Args:
        root: the LightningModule; wrappers such as `torch.compile` may still be in place.
        path: what the user asked for; `"."` is the LightningModule itself. None: the LightningModule if it has
            `streaming_forward`, else its only child with parameters, metrics and losses aside.

    Raises:
        ConfigurationError: there is no module at the path, or several children could be meant.
    """
    if path == WHOLE:
        return ""
    if path is not None:
        return _check_path(root, path)
    if callable(getattr(root, "streaming_forward", None)):
        return ""
    found = _candidates(root)
    if len(found) == 1:
        return next(iter(found))
    name = type(root).__name__
    if not found:
        raise ConfigurationError(
            f"EspStreamingExport(module=None): {name} has no child module with parameters, so there is nothing to export. "
            f"Keep the network in a child module, or export the LightningModule itself with module={WHOLE!r}."
        )
    listed = ", ".join(f"{path!r} ({type(inner_module(child)).__name__})" for path, child in found.items())
    raise ConfigurationError(
        f"EspStreamingExport(module=None): {name} has {len(found)} child modules with parameters, {listed}, and only one "
        f"can be exported. Name it, EspStreamingExport(module={next(iter(found))!r}) say; or put them into one nn.Module; or "
        f"export the LightningModule itself, whose forward calls them, with module={WHOLE!r}."
    )


def _candidates(root: nn.Module) -> dict[str, nn.Module]:
    children = {name: child for name, child in root.named_children() if _is_network(child)}
    # An averaged copy of a network stands for it: that is what a validation step with averaged weights runs.
    averaged = {type(inner_module(child)) for child in children.values() if isinstance(child, AveragedModel)}
    children = {
        n: c for n, c in children.items() if isinstance(c, AveragedModel) or type(inner_module(c)) not in averaged
    }
    distinct: dict[int, str] = {}
    for name, child in children.items():
        distinct.setdefault(id(inner_module(child)), name)
    return {name: children[name] for name in distinct.values()}


def _is_network(module: nn.Module) -> bool:
    if isinstance(module, Metric | MetricCollection | _Loss) or type(module).__name__.endswith("Loss"):
        return False
    return any(True for _ in module.parameters())


def _check_path(root: nn.Module, path: str) -> str:
    try:
        root.get_submodule(path)
    except AttributeError:
        names = ", ".join(repr(name) for name, _ in root.named_children()) or "none"
        raise ConfigurationError(
            f"EspStreamingExport(module={path!r}): {type(root).__name__} has no submodule of that path; its children are "
            f"{names}."
        ) from None
    return path

"""The two packages of Lightning, which do not know each other's classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:

    class UnifiedCallback:
        """`lightning.pytorch.Callback` where that package is installed."""

else:
    # Its Trainer and its LightningCLI ask for their own class of callback.
    try:
        from lightning.pytorch import Callback as UnifiedCallback
    except ImportError:

        class UnifiedCallback:
            """Stands for `lightning.pytorch.Callback` where that package is not installed."""


_PACKAGES = ("pytorch_lightning.", "lightning.pytorch.", "lightning_fabric.", "lightning.fabric.")


def is_lightning(module: str) -> bool:
    """Tell whether a module, given by its dotted name, is one of Lightning's, of either package."""
    return f"{module}.".startswith(_PACKAGES)


def package_of(instance: Any) -> str:
    """`"pytorch_lightning"` or `"lightning.pytorch"`, whichever a trainer or module comes from."""
    unified = any(cls.__module__.startswith("lightning.pytorch.") for cls in type(instance).__mro__)
    return "lightning.pytorch" if unified else "pytorch_lightning"

"""The exceptions of lightning_esp. Each message names the argument or module, the value, the rule and the next step.

LightningEspError
├── ConfigurationError (ValueError)      an option has a value that cannot work
│   ├── UnknownTargetError               a chip that esp-dl does not know
│   ├── WindowError                      window not a multiple of the stride, or shorter than the stages
│   └── OutputDirectoryError             a file, or a directory that is not a bundle of ours
├── EnvironmentMismatchError             Python or esp-ppq of a version that cannot work
├── ConversionError                      the module has no streaming form
│   ├── NotCausalError                   it looks ahead in time
│   ├── UnsupportedOperatorError         no rule for an operator, and no hand-written `streaming_forward`
│   └── ContractError                    a hand-written `streaming_forward` breaks its contract
├── CheckpointError                      a checkpoint cannot be read
├── DataError                            recordings that cannot calibrate or verify a model
├── StepError                            a step of the user failed in a run of the callback's own
├── ModuleNotFoundInBatchError           the exported module or its input was not found in a run of the user's step
├── QuantizationError                    esp-ppq reported an error or failed
├── DeviceSafetyError                    ESP-DL cannot compute the graph rightly
├── ProofError                           a proof failed; the bundle was not written
├── BudgetError                          the model is estimated over a limit of `Deployment(budget=...)`
├── BundleError                          a bundle cannot be read, or was changed after it was written
└── EspdlError                           an `.espdl` file cannot be read or computed
    ├── EspdlFormatError                 truncated, encrypted, foreign or newer file
    └── EspdlOperatorError               an operator that the interpreter does not know, or that ESP-DL gets wrong
"""

from __future__ import annotations


class LightningEspError(Exception):
    """Base of every exception that this package raises on purpose."""


class ConfigurationError(LightningEspError, ValueError):
    """An option has a value that cannot work."""


class UnknownTargetError(ConfigurationError):
    """The target is not a chip that ESP-DL supports."""


class WindowError(ConfigurationError):
    """The window does not fit the model's stride or the number of stages."""


class OutputDirectoryError(ConfigurationError):
    """The output directory is a file, or holds something that is not a bundle of ours."""


class EnvironmentMismatchError(LightningEspError):
    """Python or esp-ppq has a version that cannot work."""


class ConversionError(LightningEspError):
    """The module has no streaming form."""


class NotCausalError(ConversionError):
    """The module looks ahead in time."""


class UnsupportedOperatorError(ConversionError):
    """No streaming rule exists for an operator of the module."""


class ContractError(ConversionError):
    """A hand-written `streaming_forward` breaks its contract."""


class CheckpointError(LightningEspError):
    """A checkpoint cannot be read."""


class DataError(LightningEspError):
    """The recordings cannot calibrate or verify the model."""


class StepError(LightningEspError):
    """A step of the user failed while the callback ran it under a trainer of its own."""


class ModuleNotFoundInBatchError(LightningEspError):
    """The exported module, or its input, was not found while the user's own step ran."""


class QuantizationError(LightningEspError):
    """esp-ppq reported an error or failed."""


class DeviceSafetyError(LightningEspError):
    """ESP-DL cannot compute the graph rightly on the chosen chip."""


class ProofError(LightningEspError):
    """A proof failed, so the bundle was not written."""


class BudgetError(LightningEspError):
    """The model is estimated over a limit of the deployment's budget, so the bundle was not written."""


class BundleError(LightningEspError):
    """A bundle cannot be read, or was changed after it was written."""


class EspdlError(LightningEspError):
    """An `.espdl` file cannot be read or computed."""


class EspdlFormatError(EspdlError):
    """The file is truncated, encrypted, foreign or newer than this package."""


class EspdlOperatorError(EspdlError):
    """The interpreter does not know the operator, or ESP-DL computes it wrongly."""

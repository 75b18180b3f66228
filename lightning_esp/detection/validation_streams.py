"""Validation streams of a datamodule, for an export that chooses thresholds: long recordings with known keywords."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

from torch import Tensor

from lightning_esp.detection.keywords import Keyword
from lightning_esp.detection.streams import Stream
from lightning_esp.errors import DataError

LabeledRecording: TypeAlias = "tuple[Tensor | Mapping[str, Tensor], tuple[Keyword, ...]]"
Item: TypeAlias = "Stream | tuple[Tensor | Mapping[str, Tensor], Sequence[Keyword]]"


class ValidationStreams(Protocol):
    """A LightningDataModule, or a LightningModule, that knows long validation recordings; that of the datamodule counts.

    `EspStreamingExport` calls the method on a copy, on rank zero, with every global random state seeded and put back
    behind it: once before training, to look at the first seconds of the first recording, and once at the export. Whatever
    else it draws from must be a generator of its own, seeded anew in each call.
    """

    def validation_streams(self) -> Iterable[Item]:
        """Return long recordings of the validation split and what is said in them; never of the test split.

        Returns:
            An iterable of pairs `(recording, keywords)`; a `StreamDataset`, whose items are `Stream`, counts as well, and
            a generator makes one recording at a time.

            The recording is a waveform `[samples]` (or `[1, samples]`), floating point in -1 to 1 or int16, at the sample
            rate of the front end, where a front end of the LightningModule is exported; else what the exported module
            takes, without batch dimension.

            The keywords are a sequence of `Keyword(start, end, label)`, times in seconds from the start of the recording,
            labels as in `Deployment(labels=...)` or the datamodule's `labels`; with `groups={"speaker": "anna"}` misses are
            told by speaker, too. An empty sequence for speech or noise in
            which nothing should be found. Keywords of other labels, and of labels that start with an underscore, are
            expected to make no event.

            Recordings of any length and number may follow each other; state and detector start anew in each. Rates are
            counted over all of them together: below an hour, `max_false_accepts_per_hour=1.0` cannot be told, and thresholds
            balance misses and false accepts.
        """
        ...


def read_item(item: Any, index: int) -> LabeledRecording:
    """Return recording and keywords of one item of `validation_streams()`.

    Args:
        item: what came.
        index: which one it was, for messages.

    Raises:
        DataError: it is neither a `Stream` nor such a pair.

    Example:
        >>> import torch
        >>> read_item((torch.zeros(16000), [Keyword(0.2, 0.7, "yes")]), 0)[1]
        (Keyword(start=0.2, end=0.7, label='yes', groups={}),)
    """
    if isinstance(item, Stream):
        return item.waveform, item.keywords
    pair = isinstance(item, Sequence) and len(item) == 2
    if not pair or not isinstance(item[0], Tensor | Mapping) or not isinstance(item[1], Sequence):
        raise DataError(
            f"item {index} of validation_streams() is a {type(item).__name__}; give pairs (recording, sequence of Keyword), "
            "or a StreamDataset."
        )
    wrong = next((keyword for keyword in item[1] if not isinstance(keyword, Keyword)), None)
    if wrong is not None:
        raise DataError(
            f"item {index} of validation_streams() has {wrong!r} among its keywords; give "
            "lightning_esp.detection.Keyword(start, end, label), times in seconds."
        )
    return item[0], tuple(item[1])

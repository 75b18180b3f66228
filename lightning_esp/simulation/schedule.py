"""Schedule of the stages: one of them a frame step, as in the firmware."""

from __future__ import annotations

from collections.abc import Mapping

from lightning_esp.quantization import Array
from lightning_esp.simulation.integer_pipeline import IntegerPipeline


class StageSchedule:
    """Windows on their way through the stages, one stage a frame step.

    In the frame step that completes a window stage 0 runs, stage 1 in the next one, and so on; frames of the next window
    may come meanwhile. So the outputs come (stages - 1) frame steps after the window, and the load per step is that of
    one stage.

    Args:
        pipeline: the stages.
        batch: recordings that run side by side.

    Attributes:
        state: the caches as they are now, explicit ones by name, native ones as `<stage>:<operator>`.
        arguments: for every stage that has run, what it was stepped with last.
    """

    def __init__(self, pipeline: IntegerPipeline, batch: int) -> None:
        self.pipeline = pipeline
        self.state = pipeline.initial_state(batch)
        self.arguments: dict[int, tuple[dict[str, Array], dict[str, Array]]] = {}
        self._values: dict[str, Array] = {}
        self._next = len(pipeline.files)

    @property
    def is_pending(self) -> bool:
        """Tell whether stages of the last window have yet to run."""
        return self._next < len(self.pipeline.files)

    def step(self, window: Mapping[str, Array] | None = None) -> dict[str, Array] | None:
        """One frame step.

        Args:
            window: integers of all model inputs, where the step completes a window.

        Returns:
            Every stage output by name where the last stage has run, else None.
        """
        if window is not None:
            assert not self.is_pending, "a window has at least as many frames as there are stages"
            self._values, self._next = dict(window), 0
        if not self.is_pending:
            return None
        self.arguments[self._next] = self.pipeline.stage_arguments(self._next, self._values, self.state)
        outputs, after = self.pipeline.run_stage(self._next, self._values, self.state)
        self._values |= outputs
        self.state = self.state | after
        self._next += 1
        return None if self.is_pending else dict(self._values)

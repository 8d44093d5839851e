"""The progress bar of a training run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from pilarnet_convert.console.progress import ProgressBar

__all__ = ["StepBar"]

#: Weight of the last step in the particles a second that are shown.
_SMOOTHING: Final = 0.1


class StepBar:
    """Shows the steps of a run, from `first_step` on, and figures of the last, on `bar`."""

    def __init__(self, bar: ProgressBar, *, first_step: int, num_epochs: int) -> None:
        self._bar, self._first_step, self._num_epochs = bar, first_step, num_epochs
        self._figures, self._speed = "", 0.0
        bar.measure_from(first_step)

    def count(self, step: int, figures: Mapping[str, float]) -> None:
        """Show that `step` steps are done; the first step is slow and is left out of the rate."""
        rate = figures["particles_per_second"]
        self._speed += (rate - self._speed) * (_SMOOTHING if self._speed else 1)
        self._figures = (
            f"epoch {figures['epoch'] + 1:.0f} of {self._num_epochs}, "
            f"loss {figures['loss']:.3f}, {self._speed:,.0f} particles/s"
        )
        self._bar.set_postfix_str(self._figures, refresh=False)
        if step == self._first_step + 1:
            self._bar.measure_from(step)
        else:
            self._bar.update()

    @contextmanager
    def doing(self, what: str) -> Iterator[None]:
        """Show what is being done between steps, beside the figures of the last step."""
        self._bar.set_postfix_str(", ".join(filter(None, [what, self._figures])))
        try:
            yield
        finally:
            self._bar.set_postfix_str(self._figures, refresh=False)

    def close(self) -> None:
        """End the bar."""
        self._bar.close()

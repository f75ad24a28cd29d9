"""scikit-learn's own callbacks, which it has from 1.9 on. The only file that knows of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from sklearn_ae._training.progress import Watcher

try:
    from sklearn.callback import CallbackSupportMixin
except ImportError:  # scikit-learn before 1.9: estimators have no set_callbacks

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Stands for the mixin that scikit-learn does not have yet."""


class FitCallbacks(Watcher):
    """Tells an estimator's callbacks, and those of a search around it, of its fit and its epochs.

    They get the training data, with X as the target where there is no y: autoencoders learn X.
    Where a callback asks for the fitted estimator, it gets one whose weights are a copy of those
    that the epoch was judged by. A callback that gives True ends training after this epoch.

    Parameters
    ----------
    estimator : estimator
        Its fit has just begun.
    X, y, sample_weight
        What was passed to it.
    """

    def __init__(self, estimator: Any, X: Any, y: Any, sample_weight: Any):
        self.estimator, self.X, self.y = estimator, X, X if y is None else y
        self.metadata = None if sample_weight is None else {"sample_weight": sample_weight}
        self.context = estimator._init_callback_context(max_subtasks=None)  # known in begin
        self.keep: list[Callable] = []

    def watch(self, net: Any, keep: Callable) -> None:
        """Watch a net's training; ``keep(twin, net)`` fits an estimator as far as the net is."""
        self.keep.insert(0, keep)
        net.watchers = (*net.watchers, self)

    def then(self, keep: Callable) -> None:
        """Have ``keep(twin, net)`` called after that of ``watch``."""
        self.keep.append(keep)

    @property
    def told(self) -> dict:
        """What every hook may ask for."""
        return {"estimator": self.estimator, "X": self.X, "y": self.y, "metadata": self.metadata}

    def begin(self, net):
        self.context.max_subtasks = net.max_epochs - net.state_.epoch
        self.context.call_on_fit_task_begin(**self.told)

    def begin_epoch(self, net):
        self.epoch = self.context.subcontext(task_name="epoch")
        self.epoch.call_on_fit_task_begin(**self.told)

    def end_epoch(self, net):
        fitted = partial(self._fitted_so_far, net)
        return self.epoch.call_on_fit_task_end(**self.told, reconstruction_attributes=fitted)

    def _fitted_so_far(self, net: Any) -> dict:
        twin = object.__new__(type(self.estimator))
        vars(twin).update(vars(self.estimator))
        for keep in self.keep:
            keep(twin, net)
        return vars(twin)

    def end_fit(self) -> None:
        """The estimator is fitted."""
        self.context.call_on_fit_task_end(**self.told, reconstruction_attributes={})


def fit_callbacks(estimator: Any, X: Any, y: Any, sample_weight: Any) -> FitCallbacks | None:
    """What tells an estimator's callbacks of its fit; None if it has none."""
    has_some = hasattr(estimator, "_skl_callbacks")
    return FitCallbacks(estimator, X, y, sample_weight) if has_some else None

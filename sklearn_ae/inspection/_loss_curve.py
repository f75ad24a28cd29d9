"""LossCurveDisplay."""

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted

from sklearn_ae.inspection._common import BLUE, GREEN, GREY, RED, check_matplotlib, last_step, make_axes

LOG_RATIO = 10  # a curve over more than this is drawn on a logarithmic axis


class LossCurveDisplay:
    """The loss on training and validation rows, epoch by epoch.

    Both curves flat at the end: training has converged. The validation curve rises while the training curve falls: it
    overfits, and the weights kept are those of the epoch that is marked.

    Parameters
    ----------
    train_loss : array-like of shape (n_epochs,)
        Mean loss of each epoch on the training rows, in units of the loss, on scaled data.
    validation_loss : array-like of shape (n_epochs,), default=None
        The same on the rows held out. None if there are none.
    best_epoch : int, default=None
        The epoch after which the weights were kept, from 1; 0 is the start, before training. None marks none.
    start_loss : float, default=None
        The loss before training, on the rows held out: a plain autoencoder starts at PCA's solution, so this is PCA's.

    Attributes
    ----------
    train_line_, validation_line_, best_line_, start_line_ : matplotlib Line2D or None
        What was drawn.
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    See Also
    --------
    sklearn.model_selection.LearningCurveDisplay : The score for more and more training rows.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_ae import AutoencoderTransformer
    >>> from sklearn_ae.inspection import LossCurveDisplay
    >>> X, _ = load_iris(return_X_y=True)
    >>> model = AutoencoderTransformer(1, random_state=0).fit(X[::3])
    >>> LossCurveDisplay.from_estimator(model)
    <...LossCurveDisplay object at ...>
    """

    def __init__(
        self,
        *,
        train_loss: ArrayLike,
        validation_loss: ArrayLike | None = None,
        best_epoch: int | None = None,
        start_loss: float | None = None,
    ):
        self.train_loss = train_loss
        self.validation_loss = validation_loss
        self.best_epoch = best_epoch
        self.start_loss = start_loss

    @classmethod
    def from_estimator(cls, estimator: Any, *, start_loss: float | None = None, ax: Any = None, **kwargs) -> Self:
        """Plot the loss curves of a fitted autoencoder.

        Parameters
        ----------
        estimator : AutoencoderTransformer, AutoencoderOutlierDetector or Pipeline
            Fitted. Of a pipeline the last step is taken, of a search the best estimator.
        start_loss : float, default=None
            The loss before training, if you know it, drawn as a line.
        ax : matplotlib Axes, default=None
            Where to draw. None makes a new figure.
        **kwargs : dict
            Passed to `plot`.

        Returns
        -------
        display : LossCurveDisplay
            Its ``best_epoch`` is the epoch that the estimator has kept; if it does not tell, that of the lowest validation loss.
        """
        check_matplotlib(f"{cls.__name__}.from_estimator")
        estimator = last_step(estimator)
        check_is_fitted(estimator)
        validation = estimator.validation_loss_curve_
        display = cls(
            train_loss=np.asarray(estimator.loss_curve_, dtype=np.float64),
            validation_loss=np.asarray(validation, dtype=np.float64) if validation else None,
            best_epoch=_best_epoch(estimator),
            start_loss=start_loss,
        )
        return display.plot(ax=ax, **kwargs)

    def plot(self, ax: Any = None, *, log: bool | str = "auto", **kwargs) -> Self:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw. None makes a new figure.
        log : bool or "auto", default="auto"
            Whether the loss is on a logarithmic axis. ``"auto"``: if all losses are positive and the largest is over 10
            times the smallest.
        **kwargs : dict
            Passed to matplotlib's ``plot`` for both curves.

        Returns
        -------
        display : LossCurveDisplay
        """
        check_matplotlib(f"{type(self).__name__}.plot")
        from matplotlib.ticker import MaxNLocator

        self.ax_ = ax = make_axes(ax)[0, 0]
        self.figure_ = ax.figure
        train = np.asarray(self.train_loss)
        (self.train_line_,) = ax.plot(np.arange(1, len(train) + 1), train, **{"color": BLUE, "label": "training", **kwargs})
        self.validation_line_ = self.start_line_ = self.best_line_ = None
        if self.validation_loss is not None:
            validation = np.asarray(self.validation_loss)
            style = {"color": RED, "linestyle": "--", "label": "validation", **kwargs}
            (self.validation_line_,) = ax.plot(np.arange(1, len(validation) + 1), validation, **style)
        if self.start_loss is not None:
            label = "before training (validation)"
            self.start_line_ = ax.axhline(self.start_loss, color=GREY, linestyle=":", label=label)
        if self.best_epoch is not None:
            self._mark_best(ax, self.best_epoch)
        if log is True or (log == "auto" and self._spans_decades()):
            ax.set_yscale("log")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.set(xlabel="Epoch", ylabel="Loss (mean over rows, scaled data)")
        ax.legend()
        return self

    def _mark_best(self, ax: Any, best: int) -> None:
        label = f"best: epoch {best}" if best else "best: the start"
        curve = [self.start_loss, *([] if self.validation_loss is None else np.asarray(self.validation_loss))]
        height = curve[best] if best < len(curve) else None
        if height is None:
            self.best_line_ = ax.axvline(best, color=GREEN, linestyle="-.", label=label)
        else:
            style = {"color": GREEN, "marker": "*", "markersize": 14, "markeredgecolor": "white", "linestyle": "none"}
            (self.best_line_,) = ax.plot([best], [height], zorder=3, label=label, **style)

    def _spans_decades(self) -> bool:
        parts: list[ArrayLike] = [self.train_loss, [] if self.validation_loss is None else self.validation_loss]
        losses = np.concatenate([np.asarray(part, dtype=np.float64) for part in parts])
        losses = losses[np.isfinite(losses)]
        return len(losses) > 0 and losses.min() > 0 and losses.max() > LOG_RATIO * losses.min()


def _best_epoch(estimator: Any) -> int | None:
    """The epoch that was kept, from 1, and 0 for the start; None where no rows were held out to choose it by."""
    validation = estimator.validation_loss_curve_
    if not validation:
        return None
    best = getattr(estimator, "best_epoch_", None)
    if best is None:
        return int(np.nanargmin(validation)) + 1
    return int(best) + len(estimator.loss_curve_) - estimator.n_iter_  # after a warm start, curves begin with the fits before

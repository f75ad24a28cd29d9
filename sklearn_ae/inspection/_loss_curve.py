"""LossCurveDisplay."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted

from sklearn_ae.inspection._common import BLUE, GREEN, GREY, RED, Display

LOG_RATIO = 10  # losses over more than this are drawn on a logarithmic axis


@dataclass(kw_only=True, eq=False, repr=False)
class LossCurveDisplay(Display):
    """The loss on training and validation rows, epoch by epoch.

    Both curves flat at the end: training has converged. The validation curve rises while the
    training curve falls: it overfits, and the weights kept are those of the epoch that is marked.

    Parameters
    ----------
    train_loss : array-like of shape (n_epochs,)
        Mean loss of each epoch on the training rows, in units of the loss, on scaled data.
    validation_loss : array-like of shape (n_epochs,), default=None
        The same on the rows held out. None if there are none.
    best_epoch : int, default=None
        The epoch whose weights were kept, from 1; 0 is the start, before training. None marks none.
    start_loss : float, default=None
        The loss before training, on the rows held out: a plain autoencoder starts at PCA's
        solution, so this is PCA's.

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

    train_loss: ArrayLike
    validation_loss: ArrayLike | None = None
    best_epoch: int | None = None
    start_loss: float | None = None

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        start_loss: float | None = None,
        ax: Any = None,
        **kwargs,
    ) -> Self:
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
            Its ``best_epoch`` is the epoch that the estimator has kept; if it does not tell, that
            of the lowest validation loss.
        """
        _, last = cls._steps(estimator)
        check_is_fitted(last)
        validation, best = last.validation_loss_curve_ or None, None
        if validation is not None:  # after a warm start, curves begin with the fits before
            before = len(last.loss_curve_) - last.n_iter_
            best = getattr(last, "best_epoch_", None)
            best = int(np.nanargmin(validation)) + 1 if best is None else int(best) + before
        display = cls(
            train_loss=np.array(last.loss_curve_),
            validation_loss=None if validation is None else np.array(validation),
            best_epoch=best,
            start_loss=start_loss,
        )
        return display.plot(ax=ax, **kwargs)

    def plot(self, ax: Any = None, *, log: bool | str = "auto", **kwargs) -> Self:
        """Draw, and return the display.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw. None makes a new figure.
        log : bool or "auto", default="auto"
            Whether the loss is on a logarithmic axis. ``"auto"``: if all losses are positive and
            the largest is over 10 times the smallest.
        **kwargs : dict
            Passed to matplotlib's ``plot`` for both curves.
        """
        ax = self._open(ax)[0, 0]
        train, start = np.asarray(self.train_loss, dtype=np.float64), self.start_loss
        validation = np.asarray([] if self.validation_loss is None else self.validation_loss)
        self.validation_line_ = self.start_line_ = self.best_line_ = None
        style = {"color": BLUE, "label": "training", **kwargs}
        (self.train_line_,) = ax.plot(np.arange(len(train)) + 1, train, **style)
        if len(validation):
            style = {"color": RED, "linestyle": "--", "label": "validation", **kwargs}
            (self.validation_line_,) = ax.plot(np.arange(len(validation)) + 1, validation, **style)
        if start is not None:
            style = {"color": GREY, "linestyle": ":", "label": "before training (validation)"}
            self.start_line_ = ax.axhline(start, **style)
        if self.best_epoch is not None:
            self.best_line_ = self._mark(ax, self.best_epoch, [start, *validation])
        losses = np.concatenate([train, validation])
        losses = losses[np.isfinite(losses)]
        decades = losses.size and losses.min() > 0 and losses.max() > LOG_RATIO * losses.min()
        if decades if log == "auto" else log:
            ax.set_yscale("log")
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.set(xlabel="Epoch", ylabel="Loss (scaled data)")
        self._add_legend(ax, loc="best")
        return self._finish()

    def _mark(self, ax: Any, best: int, curve: list) -> Any:
        style = {"color": GREEN, "label": f"best: epoch {best}" if best else "best: the start"}
        if best >= len(curve) or curve[best] is None:
            return ax.axvline(best, linestyle="-.", **style)
        star = {"marker": "*", "markersize": 14, "markeredgecolor": "white", "linestyle": "none"}
        return ax.plot([best], [curve[best]], zorder=3, **star, **style)[0]

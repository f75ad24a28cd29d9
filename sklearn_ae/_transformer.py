"""AutoencoderTransformer."""

from collections.abc import Callable, Sequence

import torch
from numpy.random import RandomState
from torch import nn

from sklearn_ae._base import BaseAutoencoder
from sklearn_ae._docs import describe
from sklearn_ae.architectures import Architecture
from sklearn_ae.corruptions import Corruption
from sklearn_ae.latents import Latent


@describe(
    architecture="None is ``Dense()``: two hidden layers of 128 units with a linear path beside them.",
    scaling='``"standard"``',
    optimizer="adamw",
    learning_rate="0.01 times the root of 256 / n_features if that is under 1",
    max_grad_norm=1.0,
    max_epochs='``"auto"`` plans about 2,000 batches, fewer for over 256 features or without hidden layers, in 2 to 200 epochs.',
    batch_size='``"auto"`` is about an eighth of the rows, from 64 to 128, and a thousandth from 128,000 rows on.',
    early_stopping=True,
    validation_fraction='``"auto"`` is a tenth, at most 10,000 rows. Under 1,000 rows (and up to 256 features) it is none: five '
    "copies of the network that each leave a fifth of the rows out are trained beside it, and tell the best epoch.",
)
class AutoencoderTransformer(BaseAutoencoder):
    r"""Dimensionality reduction by an autoencoder.

    An encoder maps each row to a code of `n_components` numbers, a decoder maps the code back, and both are trained so that
    the row comes back as it was:

    .. math:: \min \frac1n \sum_i \big[\text{loss}(\text{decoder}(z_i), x_i) + \text{cost}(z_i)\big],\quad z_i = \text{encoder}(x_i)

    By default training starts at the solution of PCA and ends there if nothing better is found on rows held out, so that codes are
    not worse than PCA's. What is built, and what the code costs, is chosen by parts in slots; all combine.

    Parameters
    ----------
    n_components : int, default=2
        Length of a code.
    <parameters>

    Attributes
    ----------
    <attributes>

    See Also
    --------
    AutoencoderOutlierDetector : Outlier detection by an ensemble of small autoencoders.
    sklearn.decomposition.PCA : The linear case.

    References
    ----------
    .. [1] Hinton and Salakhutdinov (2006), "Reducing the Dimensionality of Data with Neural Networks", Science 313.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_ae import AutoencoderTransformer
    >>> X, _ = load_iris(return_X_y=True)
    >>> model = AutoencoderTransformer(2, random_state=0).fit(X)
    >>> model.transform(X).shape
    (150, 2)
    >>> bool(((model.reconstruct(X) - X) ** 2).mean() < 0.05)
    True
    """

    def __init__(
        self,
        n_components: int = 2,
        *,
        architecture: Architecture | None = None,
        corruption: Corruption | Callable[[torch.Tensor], torch.Tensor] | None = None,
        latent: Latent | None = None,
        loss: str | nn.Module = "squared_error",
        scaling: str | None = "auto",
        optimizer: str | type[torch.optim.Optimizer] = "adamw",
        learning_rate: float | str = "auto",
        learning_rate_schedule: str | Callable[[float], float] = "one_cycle",
        weight_decay: float = 0.0,
        max_grad_norm: float | None = 1.0,
        max_epochs: int | str = "auto",
        batch_size: int | str = "auto",
        early_stopping: bool = True,
        validation_fraction: float | str = "auto",
        n_iter_no_change: int | None = None,
        tol: float = 1e-4,
        warm_start: bool = False,
        device: str | torch.device = "auto",
        compile: bool = False,
        mixed_precision: bool = False,
        callbacks: Sequence | None = None,
        verbose: int = 0,
        random_state: int | RandomState | None = None,
    ):
        self.n_components = n_components
        self.architecture = architecture
        self.corruption = corruption
        self.latent = latent
        self.loss = loss
        self.scaling = scaling
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.learning_rate_schedule = learning_rate_schedule
        self.weight_decay = weight_decay
        self.max_grad_norm = max_grad_norm
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.warm_start = warm_start
        self.device = device
        self.compile = compile
        self.mixed_precision = mixed_precision
        self.callbacks = callbacks
        self.verbose = verbose
        self.random_state = random_state

"""AutoencoderTransformer."""

from sklearn_ae._base import BaseAutoencoder
from sklearn_ae._docs import describe


@describe(
    architecture="None is ``Dense()``: two hidden layers of 128 units with a linear path beside them.",
    scaling='``"bounded"`` with a corruption, ``"standard"``',
    optimizer="adamw",
    learning_rate="0.01 times the root of 256 / n_features if that is under 1",
    max_grad_norm=1.0,
    max_epochs='``"auto"`` plans 1,250 batches for 1,000 rows, growing with the power 0.6 of the rows to at most 2,100; fewer for '
    "over 256 features or without hidden layers; in 2 to 500 epochs.",
    batch_size='``"auto"`` is a thirty-second of the rows, from 64 to 128, and a thousandth from 128,000 rows on, evened out.',
    early_stopping=True,
    validation_fraction='``"auto"`` is a tenth, at most 10,000 rows. Where that is under 100 rows it is 100 of them, or a fifth if '
    "that is less.",
)
class AutoencoderTransformer(BaseAutoencoder):
    r"""Dimensionality reduction by an autoencoder.

    An encoder maps each row to a code of `n_components` numbers, a decoder maps the code back, and both are trained so that
    the row comes back as it was:

    .. math:: \min \frac1n \sum_i \big[\text{loss}(\text{decoder}(z_i), x_i) + \text{cost}(z_i)\big],\quad z_i = \text{encoder}(x_i)

    By default training starts at the solution of PCA. That solution is kept if the trained network is not significantly better on
    rows held out. Architecture, corruption and latent are chosen by parts in slots, which can all be combined.

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

    Notes
    -----
    <notes>

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

"""Corruptions: what a denoising autoencoder does to its input while it is trained.

The network sees the corrupted batch and is compared with the clean one, so it learns to take the
corruption away [1]_. Batches arrive scaled (see the estimators' ``scaling``): with
``scaling="standard"`` a noise of 0.3 means 0.3 standard deviations of each feature; with
``scaling=None`` it means 0.3 units of the data, which is right for pixels. Nothing is corrupted
outside ``fit``.

Your own corruption is a class with one method, ``corrupt(x)``, or simply a function from a batch
(a tensor of shape (n_samples, n_features)) to one of the same shape.

References
----------
.. [1] Vincent, Larochelle, Bengio and Manzagol (2008), "Extracting and Composing Robust
   Features with Denoising Autoencoders", ICML.
"""

from numbers import Real

import torch
from sklearn.utils._param_validation import Interval
from torch import Tensor

from sklearn_ae._component import Part

__all__ = ["GaussianNoise", "Masking", "SaltAndPepper"]


class Corruption(Part):
    """Base of the corruptions: a random function of a batch, of the same shape."""

    slot = "corruption"

    def __call__(self, x: Tensor) -> Tensor:
        """What ``corrupt`` makes of a copy of the batch, checked."""
        corrupted = self.corrupt(x.clone())
        if not isinstance(corrupted, Tensor) or corrupted.shape != x.shape:
            shape = (
                tuple(corrupted.shape)
                if isinstance(corrupted, Tensor)
                else type(corrupted).__name__
            )
            raise ValueError(
                f"corruption must give a tensor of the batch's shape {tuple(x.shape)}, got {shape}."
            )
        return corrupted.to(x.dtype)

    def corrupt(self, x: Tensor) -> Tensor:
        """Corrupt a batch.

        Parameters
        ----------
        x : Tensor of shape (n_samples, n_features)
            A clean batch, scaled: a copy, which may be changed in place.

        Returns
        -------
        Tensor of shape (n_samples, n_features)
        """
        raise NotImplementedError


class FunctionCorruption(Corruption):
    """A user's function as a corruption."""

    def __init__(self, function):
        self.function = function

    def corrupt(self, x: Tensor) -> Tensor:
        return self.function(x)


class GaussianNoise(Corruption):
    r"""Add independent normal noise: :math:`\tilde x = x + \sigma\varepsilon`.

    Parameters
    ----------
    std : float, default=0.3
        Standard deviation of the noise, in scaled units.

    Examples
    --------
    >>> from sklearn_ae import AutoencoderTransformer
    >>> from sklearn_ae.corruptions import GaussianNoise
    >>> AutoencoderTransformer(8, corruption=GaussianNoise(0.5))
    AutoencoderTransformer(corruption=GaussianNoise(std=0.5), n_components=8)
    """

    _parameter_constraints = {"std": [Interval(Real, 0, None, closed="left")]}

    def __init__(self, std: float = 0.3):
        self.std = std

    def corrupt(self, x: Tensor) -> Tensor:
        return x + self.std * torch.randn_like(x)


class Masking(Corruption):
    """Set a random share of the entries to zero (with ``scaling="standard"``: to their mean).

    Parameters
    ----------
    fraction : float in [0, 1], default=0.3
        The probability that an entry is masked.
    """

    _parameter_constraints = {"fraction": [Interval(Real, 0, 1, closed="both")]}

    def __init__(self, fraction: float = 0.3):
        self.fraction = fraction

    def corrupt(self, x: Tensor) -> Tensor:
        return torch.where(torch.rand_like(x) < self.fraction, torch.zeros_like(x), x)


class SaltAndPepper(Corruption):
    """Set a random share of the entries to the smallest or the largest value of their feature in
    the batch.

    Parameters
    ----------
    fraction : float in [0, 1], default=0.1
        The probability that an entry is replaced; half of those become the smallest value.
    """

    _parameter_constraints = {"fraction": [Interval(Real, 0, 1, closed="both")]}

    def __init__(self, fraction: float = 0.1):
        self.fraction = fraction

    def corrupt(self, x: Tensor) -> Tensor:
        u = torch.rand_like(x)
        low, high = x.amin(0).expand_as(x), x.amax(0).expand_as(x)
        extreme = torch.where(u < self.fraction / 2, low, high)
        return torch.where(u < self.fraction, extreme, x)

"""Architectures: the encoder and the decoder of an autoencoder.

All take and give two-dimensional tensors of shape (n_samples, n_features), images too. Your own
architecture derives from `Architecture` and defines ``build``.

The linear path
---------------
A plain autoencoder is often worse than PCA. So encoder and decoder each are ``layers(x) +
linear(x)``: the linear part starts at PCA's solution and the last of the layers at zero. So
training starts at PCA's solution.
"""

import copy
import itertools
import math
from collections.abc import Callable, Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from sklearn.utils._param_validation import Interval, StrOptions
from torch import Tensor, nn

from sklearn_ae._component import Part
from sklearn_ae._layers import (
    ACTIVATIONS,
    Linear,
    WithLinearPath,
    linear_of,
    make_activation,
    start_at_pca,
)

__all__ = ["Convolutional", "Custom", "Dense"]

Modules = tuple[nn.Module, nn.Module]
MOST_GAIN, GAIN_FEATURES = 1.75, 10  # of starting weights: ten over the features, up to the former
LIKELY_CHANNELS = 3  # (3, 3) may well be a sequence, (28, 28) is rather an image


class Architecture(Part):
    """Base of the architectures."""

    slot = "architecture"
    # whether its modules read rows that are not contiguous, and leave their input as it is: faster
    accepts_strided_input = False

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        if "build" in vars(cls):  # modules of its own, of which it says so anew
            cls.accepts_strided_input = vars(cls).get("accepts_strided_input", False)

    def build(self, n_features: int, n_outputs: int, n_components: int) -> Modules:
        """Make an encoder and a decoder.

        Parameters
        ----------
        n_features : int
            Columns of the data: what the encoder takes and the decoder gives.
        n_outputs : int
            What the encoder gives; more than `n_components` where the latent asks for it.
        n_components : int
            Length of a code: what the decoder takes.

        Returns
        -------
        encoder, decoder : nn.Module
        """
        raise NotImplementedError

    def is_linear(self) -> bool:
        """Whether the network is linear, so that PCA's solution is nearly optimal and few steps are
        enough.
        """
        return False

    def start(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        data: Callable[[], tuple[Tensor, Tensor]],
        n_components: int,
        unit_variance: bool,
        noise: float,
    ) -> None:
        """Set starting weights from data, in place; by default they are left as they are.

        Parameters
        ----------
        encoder, decoder : nn.Module
            What ``build`` gave.
        data : callable
            Gathers some scaled training rows (n_samples, n_features), and the raw outputs of that
            shape that would reproduce them.
        n_components : int
            Length of a code.
        unit_variance : bool
            Whether the latent asks for codes of unit variance.
        noise : float
            Noise in the layers' input in training, in deviations of the data.
        """


class _WithLinearPath(Architecture):
    """What Dense and Convolutional share: an optional linear path that starts at PCA."""

    @torch.no_grad()
    def start(self, encoder, decoder, data, n_components, unit_variance, noise):
        if not self.linear_path:
            return
        x, target = data()
        start_at_pca(encoder.linear, decoder.linear, x, target, n_components, unit_variance)
        encoder.set_input_range(x, noise=noise)
        # codes will move while they are trained
        decoder.set_input_range(encoder.eval()(x)[:, :n_components], margin=1.0)
        encoder.train()


class Dense(_WithLinearPath):
    """Fully connected layers, with a linear path beside them.

    Parameters
    ----------
    hidden_layer_sizes : sequence of int, default=(128, 128)
        Widths of the encoder's hidden layers, from the data to the code. ``()`` leaves none.
    activation : str or callable giving an nn.Module, default="silu"
        Activation of the hidden layers: ``"elu"``, ``"gelu"``, ``"identity"``, ``"leaky_relu"``,
        ``"logistic"`` (the same as ``"sigmoid"``), ``"mish"``, ``"relu"``, ``"selu"``, ``"silu"``,
        ``"softplus"`` or ``"tanh"``, or a class such as ``torch.nn.PReLU``.
    latent_activation : str, callable giving an nn.Module, or None, default=None
        Activation of the encoder's output.
    linear_path : bool, default=True
        Add a linear map beside the layers of both encoder and decoder, started at PCA.
    dropout : float in [0, 1), default=0.0
        Share of the hidden units switched off at random in training.
    normalization : {"batch", "layer"} or None, default=None
        Normalisation before each hidden activation.
    decoder_hidden_layer_sizes : sequence of int or None, default=None
        Widths of the decoder's hidden layers, from the code to the data; None mirrors the encoder.

    Examples
    --------
    >>> from sklearn_ae.architectures import Dense
    >>> encoder, decoder = Dense((64,)).build(n_features=20, n_outputs=5, n_components=5)
    >>> encoder.linear
    Linear(in_features=20, out_features=5, bias=True)
    """

    accepts_strided_input = True
    _parameter_constraints = {
        "hidden_layer_sizes": ["array-like"],
        "activation": [StrOptions(set(ACTIVATIONS)), callable],
        "latent_activation": [StrOptions(set(ACTIVATIONS)), callable, None],
        "linear_path": ["boolean"],
        "dropout": [Interval(Real, 0, 1, closed="left")],
        "normalization": [StrOptions({"batch", "layer"}), None],
        "decoder_hidden_layer_sizes": ["array-like", None],
    }

    def __init__(
        self,
        hidden_layer_sizes: Sequence[int] = (128, 128),
        *,
        activation: str | Callable[[], nn.Module] = "silu",
        latent_activation: str | Callable[[], nn.Module] | None = None,
        linear_path: bool = True,
        dropout: float = 0.0,
        normalization: str | None = None,
        decoder_hidden_layer_sizes: Sequence[int] | None = None,
    ):
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.latent_activation = latent_activation
        self.linear_path = linear_path
        self.dropout = dropout
        self.normalization = normalization
        self.decoder_hidden_layer_sizes = decoder_hidden_layer_sizes

    def start(self, encoder, decoder, data, n_components, unit_variance, noise):
        if self.is_linear():
            x, target = data()
            start_at_pca(
                linear_of(encoder), linear_of(decoder), x, target, n_components, unit_variance
            )
        else:
            super().start(encoder, decoder, data, n_components, unit_variance, noise)

    def is_linear(self) -> bool:
        hidden = [*self.hidden_layer_sizes, *(self.decoder_hidden_layer_sizes or ())]
        return not hidden and self.latent_activation is None

    def build(self, n_features: int, n_outputs: int, n_components: int) -> Modules:
        widths = check_sizes("hidden_layer_sizes", self.hidden_layer_sizes)
        back = widths[::-1]
        if self.decoder_hidden_layer_sizes is not None:
            back = check_sizes("decoder_hidden_layer_sizes", self.decoder_hidden_layer_sizes)
        last = None if self.latent_activation is None else make_activation(self.latent_activation)
        encoder = self._half([n_features, *widths, n_outputs], last)
        decoder = self._half([n_components, *back, n_features], None)
        if self.linear_path and len(widths) > 1:
            for half in (encoder, decoder):
                enlarge(half.layers, starting_gain(n_features))
        return encoder, decoder

    def _half(self, widths: list[int], last_activation: nn.Module | None) -> nn.Module:
        layers: list[nn.Module] = []
        for n_inputs, n_units in itertools.pairwise(widths[:-1]):
            layers += [Linear(n_inputs, n_units), *self._after_hidden(n_units)]
        layers.append(Linear(widths[-2], widths[-1]))
        if self.linear_path and not self.is_linear():
            return WithLinearPath(nn.Sequential(*layers), widths[0], widths[-1], last_activation)
        return nn.Sequential(*layers, *([] if last_activation is None else [last_activation]))

    def _after_hidden(self, n_units: int) -> list[nn.Module]:
        modules: list[nn.Module] = []
        if self.normalization == "batch":
            modules.append(nn.BatchNorm1d(n_units))
        elif self.normalization == "layer":
            modules.append(nn.LayerNorm(n_units))
        modules.append(make_activation(self.activation))
        if self.dropout:
            modules.append(nn.Dropout(self.dropout))
        return modules


def starting_gain(n_features: int) -> float:
    """The factor of the hidden layers' random weights: few features vary more along each, and small
    weights bend little.
    """
    return min(MOST_GAIN, max(1.0, GAIN_FEATURES / n_features))


@torch.no_grad()
def enlarge(layers: Any, gain: float) -> None:
    """Multiply the weights of all linear layers but the last."""
    for layer in [one for one in layers if isinstance(one, nn.Linear)][:-1]:
        layer.weight.mul_(gain)


class Convolutional(_WithLinearPath):
    """Convolutions over images or sequences that stand in flat rows.

    Each layer shrinks the image by its stride and the decoder restores its exact size, odd sizes
    too.

    Parameters
    ----------
    image_shape : tuple of int
        ``(channels, height, width)`` of an image or ``(channels, length)`` of a sequence; the
        product must be the number of features. Rows are read in C order, as ``image.reshape(-1)``
        writes them. A sequence with as many channels as its length is ``(channels, 1, length)``, so
        that nobody writes ``(28, 28)`` for a grey image.
    channels : sequence of int, default=(16, 32)
        Channels after each convolution.
    kernel_size : int, default=3
        Side of the kernels.
    stride : int, default=2
        Step of each convolution.
    activation : str or callable giving an nn.Module, default="silu"
        As in :class:`Dense`.
    latent_activation : str, callable giving an nn.Module, or None, default=None
        Activation of the encoder's output.
    linear_path : bool, default=True
        Add a linear map from image to code, and one back, beside the layers, started at PCA.
    hidden_layer_sizes : sequence of int, default=()
        Widths of fully connected layers between the convolutions and the code, mirrored in the
        decoder.

    Examples
    --------
    >>> from sklearn_ae import AutoencoderTransformer
    >>> from sklearn_ae.architectures import Convolutional
    >>> model = AutoencoderTransformer(32, architecture=Convolutional((1, 28, 28)))
    """

    accepts_strided_input = True
    _parameter_constraints = {
        "image_shape": ["array-like"],
        "channels": ["array-like"],
        "kernel_size": [Interval(Integral, 1, None, closed="left")],
        "stride": [Interval(Integral, 1, None, closed="left")],
        "activation": [StrOptions(set(ACTIVATIONS)), callable],
        "latent_activation": [StrOptions(set(ACTIVATIONS)), callable, None],
        "linear_path": ["boolean"],
        "hidden_layer_sizes": ["array-like"],
    }

    def __init__(
        self,
        image_shape: tuple[int, ...],
        *,
        channels: Sequence[int] = (16, 32),
        kernel_size: int = 3,
        stride: int = 2,
        activation: str | Callable[[], nn.Module] = "silu",
        latent_activation: str | Callable[[], nn.Module] | None = None,
        linear_path: bool = True,
        hidden_layer_sizes: Sequence[int] = (),
    ):
        self.image_shape = image_shape
        self.channels = channels
        self.kernel_size = kernel_size
        self.stride = stride
        self.activation = activation
        self.latent_activation = latent_activation
        self.linear_path = linear_path
        self.hidden_layer_sizes = hidden_layer_sizes

    def build(self, n_features: int, n_outputs: int, n_components: int) -> Modules:
        shapes = self._shapes(n_features)
        dense = check_sizes("hidden_layer_sizes", self.hidden_layer_sizes)
        widths = [math.prod(shapes[-1]), *dense]
        encoder = [*self._shrink(shapes), *self._dense(widths), Linear(widths[-1], n_outputs)]
        decoder = [*self._dense([n_components, *widths[::-1]]), *self._grow(shapes[::-1])]
        code = None if self.latent_activation is None else make_activation(self.latent_activation)
        if self.linear_path:
            return (
                WithLinearPath(nn.Sequential(*encoder), n_features, n_outputs, code),
                WithLinearPath(nn.Sequential(*decoder), n_components, n_features),
            )
        return nn.Sequential(*encoder, *([] if code is None else [code])), nn.Sequential(*decoder)

    def _shapes(self, n_features: int) -> list[tuple[int, ...]]:
        """The image's shape before the first and after each convolution."""
        shape = tuple(check_sizes("image_shape", self.image_shape))
        if len(shape) not in (2, 3):
            raise ValueError(
                "image_shape must be (channels, height, width) or (channels, length), got "
                f"{self.image_shape!r}. A grey image of 28 x 28 pixels is (1, 28, 28)."
            )
        if len(shape) == 2 and shape[0] == shape[1] > LIKELY_CHANNELS:
            raise ValueError(
                f"image_shape={shape} would be {shape[0]} channels of length {shape[1]}. Pass (1, "
                f"{shape[0]}, {shape[1]}) for a grey image of {shape[0]} x {shape[1]} pixels, "
                f"({shape[0]}, 1, {shape[1]}) for a sequence of {shape[0]} channels."
            )
        if math.prod(shape) != n_features:
            raise ValueError(
                f"image_shape={shape} holds {math.prod(shape)} values, but X has {n_features} "
                "features; the product must be the same."
            )
        channels = check_sizes("channels", self.channels)
        if not channels:
            raise ValueError(
                "channels must name at least one convolution, got an empty sequence; Dense has "
                "none."
            )
        shapes = [shape]
        for n_channels in channels:
            shapes.append((n_channels, *(self._shrunk(side) for side in shapes[-1][1:])))
        if min(shapes[-1]) < 1:
            raise ValueError(
                f"image_shape={shape} is too small for {len(channels)} convolutions of "
                f"kernel_size={self.kernel_size} and stride={self.stride}: pass fewer channels, or "
                "a smaller stride."
            )
        return shapes

    def _shrunk(self, side: int) -> int:
        return (side + 2 * (self.kernel_size // 2) - self.kernel_size) // self.stride + 1

    def _shrink(self, shapes: list[tuple[int, ...]]) -> list[nn.Module]:
        conv = nn.Conv2d if len(shapes[0]) == 3 else nn.Conv1d
        modules: list[nn.Module] = [nn.Unflatten(1, shapes[0])]
        for before, after in itertools.pairwise(shapes):
            modules.append(
                conv(before[0], after[0], self.kernel_size, self.stride, self.kernel_size // 2)
            )
            modules.append(make_activation(self.activation))
        return [*modules, nn.Flatten()]

    def _grow(self, shapes: list[tuple[int, ...]]) -> list[nn.Module]:
        conv: Any = nn.ConvTranspose2d if len(shapes[0]) == 3 else nn.ConvTranspose1d
        padding = self.kernel_size // 2
        modules: list[nn.Module] = [nn.Unflatten(1, shapes[0])]
        for before, after in itertools.pairwise(shapes):
            least = [
                (side - 1) * self.stride - 2 * padding + self.kernel_size for side in before[1:]
            ]
            missing = tuple(side - reached for side, reached in zip(after[1:], least, strict=True))
            modules += [
                conv(before[0], after[0], self.kernel_size, self.stride, padding, missing),
                make_activation(self.activation),
            ]
        return [*modules[:-1], nn.Flatten()]

    def _dense(self, widths: list[int]) -> list[nn.Module]:
        modules: list[nn.Module] = []
        for n_inputs, n_units in itertools.pairwise(widths):
            modules += [Linear(n_inputs, n_units), make_activation(self.activation)]
        return modules


class Custom(Architecture):
    """Your own modules.

    Parameters
    ----------
    encoder : nn.Module or callable
        A module from (n_samples, n_features) to (n_samples, n_outputs), or a function
        ``encoder(n_features, n_outputs)`` that makes one; ``n_outputs`` is ``n_components``, or
        twice that for a variational code. A module is copied at each fit and starts from the
        weights it came with.
    decoder : nn.Module or callable
        A module from (n_samples, n_components) to (n_samples, n_features), or a function
        ``decoder(n_components, n_features)`` that makes one. Weights that it shares with the
        encoder stay shared (tied weights).

    Examples
    --------
    >>> from torch import nn
    >>> from sklearn_ae import AutoencoderTransformer
    >>> from sklearn_ae.architectures import Custom
    >>> model = AutoencoderTransformer(2, architecture=Custom(nn.Linear(4, 2), nn.Linear(2, 4)))
    """

    _parameter_constraints = {"encoder": [callable], "decoder": [callable]}

    def __init__(
        self,
        encoder: nn.Module | Callable[[int, int], nn.Module],
        decoder: nn.Module | Callable[[int, int], nn.Module],
    ):
        self.encoder = encoder
        self.decoder = decoder

    def __sklearn_clone__(self) -> "Custom":
        """A clone whose encoder and decoder were copied together, so that weights they share stay
        shared.
        """
        new = super().__sklearn_clone__()
        new.encoder, new.decoder = copy.deepcopy((self.encoder, self.decoder))
        return new

    def build(self, n_features: int, n_outputs: int, n_components: int) -> Modules:
        # together, so that weights they share stay shared
        encoder, decoder = copy.deepcopy((self.encoder, self.decoder))
        if not isinstance(encoder, nn.Module):
            encoder = encoder(n_features, n_outputs)
        if not isinstance(decoder, nn.Module):
            decoder = decoder(n_components, n_features)
        for name, module in (("encoder", encoder), ("decoder", decoder)):
            if not isinstance(module, nn.Module):
                raise TypeError(
                    f"{name} must be an nn.Module or a function that gives one, got {module!r}."
                )
        return encoder, decoder


def check_sizes(name: str, sizes: Sequence[int]) -> list[int]:
    """A sequence of positive whole numbers, as a list."""
    if np.ndim(sizes) != 1 or not all(isinstance(size, Integral) and size > 0 for size in sizes):
        raise ValueError(f"{name} must be a sequence of positive whole numbers, got {sizes!r}.")
    return [int(size) for size in sizes]

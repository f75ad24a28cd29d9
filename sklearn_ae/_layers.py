"""The layers that architectures are built from.

Results for a row do not depend on the rows beside it. Kernels for narrow matrices treat the last
rows of a block differently from the first, and round differently. With rows as columns all are
treated alike. It matters where rows are scored, not where they are trained on.
"""

import copy
from collections.abc import Callable

import numpy as np
import torch
from sklearn.decomposition import PCA
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

# widths of the training range from it, beyond which the linear path is the one that it started as
FAR = 10.0

# of values: a few operations in float32, with a margin
ROUNDING = 4 * torch.finfo(torch.float32).eps

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "identity": nn.Identity,
    "leaky_relu": nn.LeakyReLU,
    "logistic": nn.Sigmoid,
    "mish": nn.Mish,
    "relu": nn.ReLU,
    "selu": nn.SELU,
    "sigmoid": nn.Sigmoid,
    "silu": nn.SiLU,
    "softplus": nn.Softplus,
    "tanh": nn.Tanh,
}


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``x @ weight.T + bias``, computed as ``(weight @ x.T).T``."""
    if weight.dim() == 3 and bias is not None:
        return torch.baddbmm(bias.unsqueeze(2), weight, x.mT).mT
    if x.dim() != 2:
        y = (weight @ x.mT).mT
        return y if bias is None else y + bias
    return (weight @ x.mT if bias is None else torch.addmm(bias.unsqueeze(1), weight, x.mT)).mT


class Linear(nn.Linear):
    """torch's layer; outside of training with rows as columns.

    Weights may also be those of several layers, (n_members, n_outputs, n_inputs) and (n_members,
    n_outputs); rows are then (n_members, n_samples, n_inputs).
    """

    supports_batched_weights = True

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return linear(x, self.weight, self.bias)
        if self.weight.dim() == 3:
            return torch.baddbmm(self.bias.unsqueeze(1), x, self.weight.mT)
        return super().forward(x)


class RowsAsColumns(TorchFunctionMode):
    """Inside the block, the linear layers of users' modules too. Results are copied, so that a
    row's numbers lie side by side, as modules that use ``view`` want them.
    """

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is nn.functional.linear:
            return linear(*args, **(kwargs or {})).contiguous()
        return func(*args, **(kwargs or {}))


class WithLinearPath(nn.Module):
    """``activation(layers(clamp(x)) + linear(x))``, the layers' last weights starting at zero.

    The layers see their input cut off at the range it had at the start: far outside the training
    data the map goes on along the linear path alone, since layers extrapolate unreliably there. In
    training they also see it with a little noise.
    """

    supports_batched_weights = True  # see Linear
    first: Tensor
    low: Tensor
    high: Tensor
    noise: Tensor

    def __init__(
        self,
        layers: nn.Sequential,
        n_inputs: int,
        n_outputs: int,
        activation: nn.Module | None = None,
    ):
        super().__init__()
        self.layers = layers
        self.linear = Linear(n_inputs, n_outputs)
        self.activation = activation
        self.noisy = False
        # weights that the linear path started with
        self.register_buffer("first", torch.zeros(n_outputs, n_inputs))
        self.register_buffer("low", torch.full((n_inputs,), -torch.inf))
        self.register_buffer("high", torch.full((n_inputs,), torch.inf))
        self.register_buffer("noise", torch.zeros(n_inputs))
        last = [m for m in layers.modules() if isinstance(m, (nn.Linear, nn.modules.conv._ConvNd))][
            -1
        ]
        nn.init.zeros_(last.weight)
        if last.bias is not None:
            nn.init.zeros_(last.bias)

    def forward(self, x: Tensor) -> Tensor:
        h = self.layers(self.layers_input(x)) + self.linear(x)
        if not self.training:
            reach = FAR * (self.high - self.low)
            # not another clamp of x: onnxscript mixes up two of them where x has one column
            above = torch.relu(x - (self.high + reach).unsqueeze(-2))
            far = above - torch.relu((self.low - reach).unsqueeze(-2) - x)
            h = h + ((self.first - self.linear.weight) @ far.mT).mT
        return h if self.activation is None else self.activation(h)

    def layers_input(self, x: Tensor) -> Tensor:
        """What the layers see of `x`."""
        # buffers may be those of several networks
        inside = torch.clamp(x, self.low.unsqueeze(-2), self.high.unsqueeze(-2))
        if self.noisy and self.training:
            inside = inside + self.noise.unsqueeze(-2) * torch.randn_like(inside)
        return inside

    def lies_inside(self, x: Tensor) -> Tensor:
        """Where `x` is not cut off."""
        return (x >= self.low) & (x <= self.high)

    def set_input_range(self, x: Tensor, margin: float = 0.0, noise: float = 0.0) -> None:
        """Take the range of the layers' input from data of shape (n_samples, n_inputs).

        `margin` widens it by so many times its width on either side, `noise` is in units of the
        data's deviations.
        """
        self.first.copy_(self.linear.weight)
        low, high = x.amin(0), x.amax(0)
        varies = high > low
        self.low.copy_(torch.where(varies, low - margin * (high - low), -torch.inf))
        self.high.copy_(torch.where(varies, high + margin * (high - low), torch.inf))
        self.noise.copy_(noise * x.std(0, correction=0))
        self.noisy = noise > 0

    def _load_from_state_dict(self, *args):
        super()._load_from_state_dict(*args)
        self.noisy = bool(self.noise.any())


def linear_of(module: nn.Module) -> nn.Linear:
    """The one linear layer of a module that has no other."""
    return next(m for m in module.modules() if isinstance(m, nn.Linear))


@torch.no_grad()
def start_at_pca(
    encoder: nn.Linear,
    decoder: nn.Linear,
    x: Tensor,
    target: Tensor,
    n_components: int,
    unit_variance: bool,
) -> None:
    """Set the encoder to the principal components of `x`, and the decoder to the best linear map
    from them to `target`.

    Where the target is `x` itself, that is PCA. Components beyond the numerical rank of `x`, whose
    spread is only the rounding of its values in float32, start at zero. All is computed in float64,
    which tells such a spread from none.
    """
    for weight in (encoder.weight, encoder.bias, decoder.weight):
        weight.zero_()
    decoder.bias.copy_(target.mean(0))
    n_found = min(n_components, len(x) - 1, x.shape[1])
    if n_found < 1:
        return
    rounding = ROUNDING * x.square().mean(0).max().sqrt()
    centred = x.to(torch.float64, copy=True)
    mean = centred.mean(0)
    centred -= mean
    # exact, and faster than what "auto" takes
    solver = "covariance_eigh" if x.shape[1] <= min(len(x), 1_000) else "auto"
    with np.errstate(invalid="ignore"):  # of equal rows, shares of no variance are NaN
        pca = PCA(n_found, svd_solver=solver, copy=False, random_state=0).fit(
            centred.numpy(force=True)
        )
    deviation = torch.from_numpy(np.sqrt(pca.explained_variance_)).to(centred)
    n_found = int((deviation > rounding).sum())
    weight = torch.from_numpy(pca.components_[:n_found]).to(centred)
    if unit_variance:
        weight = weight / deviation[:n_found, None]
    encoder.weight[:n_found] = weight
    encoder.bias[:n_found] = -weight @ mean
    codes = centred @ weight.T  # of mean 0 and uncorrelated, so each is regressed on by itself
    decoder.weight[:, :n_found] = target.double().T @ codes / codes.square().sum(0)


def make_activation(activation: str | Callable[[], nn.Module]) -> nn.Module:
    """The module of that name, or what the callable gives."""
    if isinstance(activation, str):
        return ACTIVATIONS[activation]()
    made = copy.deepcopy(activation) if isinstance(activation, nn.Module) else activation()
    if not isinstance(made, nn.Module):
        raise TypeError(
            f"An activation must be one of {sorted(ACTIVATIONS)}, an nn.Module or a class of such, "
            f"got {activation!r}."
        )
    return made

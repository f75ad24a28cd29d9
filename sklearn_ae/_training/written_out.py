"""Training steps of plain dense networks with their gradients written out.

For small layers autograd takes longer to note and to replay an operation than the operation itself takes. What `Dense` builds is a
chain of few kinds of layers. Their gradients are computed here, by the same products, and put in place at once.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sklearn_ae._data.batch import Batch
from sklearn_ae._layers import Linear, WithLinearPath
from sklearn_ae._losses import SquaredError
from sklearn_ae._network.autoencoder import Autoencoder
from sklearn_ae._training.optimizers import Adam
from sklearn_ae.latents import Latent

aten = torch.ops.aten

# An activation, and what gives the gradient before it from that after it and its input.
ACTIVATIONS: dict[type[nn.Module], tuple[Callable, Callable]] = {
    nn.ReLU: (F.relu, lambda g, z: aten.threshold_backward(g, z, 0)),
    nn.SiLU: (F.silu, aten.silu_backward.default),
    nn.Tanh: (torch.tanh, lambda g, z: aten.tanh_backward(g, torch.tanh(z))),
}


class Chain:
    """Linear layers with activations between them, and perhaps a linear path beside them.

    Weights are those of the module, and gradients are written to where its weights have them.
    """

    def __init__(self, module: Any):  # of the kinds that can_be names
        self.beside: Any = module if isinstance(module, WithLinearPath) else None
        layers: list[Any] = list(module if self.beside is None else module.layers)
        self.weights: list[tuple[Any, Any]] = [(layer.weight, layer.bias) for layer in layers[::2]]
        self.path: Any = None if self.beside is None else (self.beside.linear.weight, self.beside.linear.bias)
        self.activations = [type(layer) for layer in layers[1::2]]

    @staticmethod
    def can_be(module: Any) -> bool:
        """Whether a module is such a chain."""
        layers: Any = module.layers if type(module) is WithLinearPath and module.activation is None else module
        if type(layers) is not nn.Sequential or len(layers) % 2 == 0:
            return False
        kinds = [type(layer) for layer in layers]
        return all(kind is Linear for kind in kinds[::2]) and all(kind in ACTIVATIONS for kind in kinds[1::2])

    def forward(self, x: Tensor) -> Tensor:
        self.x = x
        inputs = x if self.beside is None else self.beside.layers_input(x)
        self.inputs, self.before = [inputs], []
        for (weight, bias), activation in zip(self.weights[:-1], self.activations, strict=True):
            z = torch.addmm(bias, inputs, weight.t())
            inputs = ACTIVATIONS[activation][0](z)
            self.before.append(z)
            self.inputs.append(inputs)
        weight, bias = self.weights[-1]
        h = torch.addmm(bias, inputs, weight.t())
        if self.path is None:
            return h
        weight, bias = self.path
        return h.addmm_(x, weight.t()).add_(bias)

    def backward(self, gradient: Tensor, wants_input: bool) -> Any:
        """Set the gradients of the weights from that of the output; give that of the input if it is wanted."""
        g = gradient
        for i in range(len(self.weights) - 1, -1, -1):
            weight, bias = self.weights[i]
            torch.mm(g.t(), self.inputs[i], out=weight.grad)
            torch.sum(g, 0, out=bias.grad)
            if i:
                before = ACTIVATIONS[self.activations[i - 1]][1]
                g = before(torch.mm(g, weight), self.before[i - 1])
        if self.path is not None:
            weight, bias = self.path
            torch.mm(gradient.t(), self.x, out=weight.grad)
            bias.grad.copy_(self.weights[-1][1].grad)
        if not wants_input:
            return None
        g = torch.mm(g, self.weights[0][0])
        return g if self.path is None else g.mul_(self.beside.lies_inside(self.x)).addmm_(gradient, self.path[0])


class WrittenOut:
    """The mean objective of a batch and the raw reconstructions of its rows; gradients are set on the way."""

    def __init__(self, module: Autoencoder):
        self.module = module
        self.encoder, self.decoder = Chain(module.encoder), Chain(module.decoder)

    @torch.no_grad()
    def __call__(self, batch: Batch) -> tuple[Tensor, Tensor]:
        x = batch.x if self.module.corruption is None else self.module.corruption(batch.x)
        if batch.mask is not None:
            x = torch.where(batch.mask, x, 0)
        raw = self.decoder.forward(self.encoder.forward(x))
        mean, gradient = self._loss(batch, raw)
        self.encoder.backward(self.decoder.backward(gradient, True), False)
        return mean, raw

    def _loss(self, batch: Batch, raw: Tensor) -> tuple[Tensor, Tensor]:
        """The mean objective, and its gradient with respect to the raw reconstructions."""
        if type(self.module.loss) is SquaredError and batch.weight is None and batch.mask is None:
            error = raw - batch.x
            return error.square().mean(), error.mul_(2 / error.numel())
        with torch.enable_grad():
            mean = batch.weighted(self.module.objective(batch, raw.requires_grad_())).mean()
            (gradient,) = torch.autograd.grad(mean, raw)
        return mean.detach(), gradient


def can_be_written_out(module: nn.Module, optimizer: torch.optim.Optimizer) -> bool:
    """Whether a network is a plain autoencoder of dense layers, and all that our Adam trains is theirs."""
    if not (type(module) is Autoencoder and type(module.latent) is Latent and module.filler is None and not module.copies_input):
        return False
    if not (Chain.can_be(module.encoder) and Chain.can_be(module.decoder)) or any(map(has_hooks, module.modules())):
        return False
    if not isinstance(optimizer, Adam):
        return False
    parameters = [p for half in (module.encoder, module.decoder) for p in half.parameters()]
    if not all(p.requires_grad for p in parameters):
        return False
    return {id(p) for p in parameters} == {id(p) for flat in optimizer.flats for p in flat.parameters}


def has_hooks(module: nn.Module) -> bool:
    """Whether somebody listens to what goes through a module."""
    return bool(module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks)

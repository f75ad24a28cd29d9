"""Training steps of plain dense networks with their gradients written out.

For small layers autograd takes longer to note and to replay an operation than the operation itself
takes. What `Dense` builds is a chain of few kinds of layers. Their gradients are computed here, by
the same products, and put in place at once.
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
from sklearn_ae._network.filling import SHORT, GapFiller, MaskFiller
from sklearn_ae._training.optimizers import Adam
from sklearn_ae._training.steps.autograd import EagerStep
from sklearn_ae.latents import Latent

aten = torch.ops.aten

# An activation, and what gives the gradient before it from that after it and its input.
ACTIVATIONS: dict[type[nn.Module], tuple[Callable, Callable]] = {
    nn.ReLU: (F.relu, lambda g, z: aten.threshold_backward(g, z, 0)),
    nn.SiLU: (F.silu, aten.silu_backward.default),
    nn.Tanh: (torch.tanh, lambda g, z: aten.tanh_backward(g, torch.tanh(z))),
}


def squared_error(raw: Tensor, x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    error = raw - x
    if mask is None:
        return error.square().mean(), error.mul_(2 / error.numel())
    error.mul_(mask)
    share = error / mask.sum(1, keepdim=True).clamp_min(1).mul_(len(error))
    return error.mul_(share).sum(), share.mul_(2)


# A loss, and what gives its mean over a batch and the gradient of that.
OBJECTIVES: dict[type[nn.Module], Callable] = {SquaredError: squared_error}


class Chain:
    """Linear layers with activations between them, and perhaps a linear path beside them.

    Weights are those of the module, and gradients are written to where its weights have them.
    """

    def __init__(self, module: Any):  # of the kinds that can_be names
        self.beside: Any = module if isinstance(module, WithLinearPath) else None
        layers: list[Any] = list(module.layers if self.beside else module)
        self.weights: list[tuple[Any, Any]] = [(layer.weight, layer.bias) for layer in layers[::2]]
        self.path: Any = self.beside and (self.beside.linear.weight, self.beside.linear.bias)
        self.activations = [type(layer) for layer in layers[1::2]]

    @staticmethod
    def can_be(module: Any) -> bool:
        """Whether a module is such a chain."""
        if type(module) is WithLinearPath and module.activation is None:
            module = module.layers
        if type(module) is not nn.Sequential or len(module) % 2 == 0:
            return False
        kinds = [type(layer) for layer in module]
        return set(kinds[::2]) == {Linear} and set(kinds[1::2]) <= set(ACTIVATIONS)

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
        """Set the weights' gradients from that of the output; give that of the input if wanted."""
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
        if self.path is not None:
            g.mul_(self.beside.lies_inside(self.x)).addmm_(gradient, self.path[0])
        return g


class Hiding:
    """What a `MaskFiller` does in a step of training, see `Autoencoder.forward`."""

    learns_from_encoder = True  # by the gradient of the encoder's input

    def __init__(self, module: Any):
        self.filler = module.filler

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Rows for the encoder, in which more is hidden."""
        self.mask = self.filler.hidden(x, mask)
        return self.filler(torch.where(self.mask, x, 0), self.mask, None)[0]

    def joined(self, raw: Tensor) -> Tensor:
        return raw

    def backward(self, gradient: Tensor) -> Tensor:
        return gradient

    def learn(self, gradient: Tensor) -> None:
        """Set the gradient of the weights from that of the encoder's input."""
        gaps, weight = (~self.mask).to(gradient), self.filler.weight
        if weight.dim() == 2:
            torch.mm(gaps.t(), gradient, out=weight.grad)
        else:
            torch.sum(gaps.mul_(gradient), 0, out=weight.grad)


class Filling:
    """What a `GapFiller` does in a step of training, see `Autoencoder.forward`."""

    learns_from_encoder = False

    def __init__(self, module: Any):
        self.module, self.filler, self.layers = module, module.filler, Chain(module.filler.layers)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Rows for the encoder, in which more is hidden and all gaps are filled."""
        self.mask = self.filler.hidden(x, mask)
        mean = self.filler.exact_mean if x.shape[1] <= SHORT else self.filler.conditional_mean
        inputs, first = self.filler.layers_input(mean(x, self.mask), self.mask, self.module.loss)
        self.values = self.layers.forward(inputs).add_(first)
        return torch.where(self.mask, x, self.module.loss.inverse_link(self.values))

    def joined(self, raw: Tensor) -> Tensor:
        """The raw output, with that of the filler in the gaps."""
        self.difference = raw - self.values
        return torch.where(self.mask, raw, self.filler.joined(self.values, raw))

    def backward(self, gradient: Tensor) -> Tensor:
        """Set the gradients of the filler's weights, and give that of the decoder's output."""
        seen = gradient * self.mask
        filled = gradient - seen
        torch.sum(self.difference.mul_(filled), 0, out=self.filler.share.grad)
        self.layers.backward(filled, False)
        return seen


FILLERS: dict[type[nn.Module], Any] = {GapFiller: Filling, MaskFiller: Hiding}


class WrittenOutStep(EagerStep):
    """A step of a plain autoencoder of dense layers, which may fill gaps, on the CPU, with our
    Adam.
    """

    def __init__(self, trainer: Any):
        super().__init__(trainer)
        self.module = trainer.module
        self.encoder, self.decoder = Chain(self.module.encoder), Chain(self.module.decoder)
        filler = self.module.filler
        self.filler: Any = None if filler is None else FILLERS[type(filler)](self.module)

    @classmethod
    def fits(cls, trainer: Any) -> bool:
        optimizer, module = trainer.optimizer, trainer.module
        on_cpu = trainer.device.type == "cpu" and not trainer.mixed_precision
        if not (on_cpu and isinstance(optimizer, Adam) and is_plain(module)):
            return False
        parts = (module.encoder, module.decoder, module.filler)
        parameters = [p for part in parts if part is not None for p in part.parameters()]
        trained = {id(p) for flat in optimizer.flats for p in flat.parameters}
        return {id(p) for p in parameters} == trained and all(p.requires_grad for p in parameters)

    @torch.no_grad()
    def gradients(self, batch: Batch) -> Tensor:
        self.trainer.optimizer.collect_gradients()  # they are written to where it has them
        x = batch.x if self.module.corruption is None else self.module.corruption(batch.x)
        if self.filler is not None:
            x = self.filler.forward(x, batch.mask)
        elif batch.mask is not None:
            x = torch.where(batch.mask, x, 0)
        raw = self.decoder.forward(self.encoder.forward(x))
        self.raw = raw if self.filler is None else self.filler.joined(raw)
        mean, gradient = self._objective(batch, self.raw)
        if self.filler is not None:
            gradient = self.filler.backward(gradient)
        gradient = self.decoder.backward(gradient, True)
        if self.filler is None or not self.filler.learns_from_encoder:
            self.encoder.backward(gradient, False)
        else:
            self.filler.learn(self.encoder.backward(gradient, True))
        return mean

    def _objective(self, batch: Batch, raw: Tensor) -> tuple[Tensor, Tensor]:
        """The mean objective, and its gradient with respect to the raw reconstructions."""
        known = OBJECTIVES.get(type(self.module.loss))
        if known is not None and batch.weight is None:
            return known(raw, batch.x, batch.mask)
        with torch.enable_grad():
            mean = batch.weighted(self.module.objective(batch, raw.requires_grad_())).mean()
            (gradient,) = torch.autograd.grad(mean, raw)
        return mean.detach(), gradient


def is_plain(module: Any) -> bool:
    """Whether rows go through chains only, to a code that is what the encoder gives, and back."""
    if not has_methods_of(Autoencoder, module, "forward", "objective"):
        return False
    if module.copies_input or any(map(has_hooks, module.modules())):
        return False
    if module.filler is not None and type(module.filler) not in FILLERS:
        return False
    plain = has_methods_of(Latent, module.latent, "code", "cost")
    return plain and Chain.can_be(module.encoder) and Chain.can_be(module.decoder)


def has_methods_of(base: type, one: Any, *names: str) -> bool:
    """Whether an object has these methods from a class, and none of its own in their place."""
    return all(getattr(type(one), name, None) is getattr(base, name) for name in names)


def has_hooks(module: nn.Module) -> bool:
    """Whether somebody listens to what goes through a module."""
    forward = module._forward_hooks or module._forward_pre_hooks
    return bool(forward or module._backward_hooks or module._backward_pre_hooks)

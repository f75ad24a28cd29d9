"""Several networks of one shape, with their parameters stacked and run as one batched computation."""

import copy
import threading

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state

from sklearn_ae._module import Autoencoder
from sklearn_ae.architectures import ACTIVATIONS
from sklearn_ae.latents import Latent

ENTRY_BY_ENTRY = {*ACTIVATIONS.values(), nn.Dropout, nn.Sequential}


class Member(nn.Module):
    """An autoencoder whose methods can be called through ``forward``, as stacked parameters need it."""

    def __init__(self, autoencoder: Autoencoder):
        super().__init__()
        self.autoencoder = autoencoder

    def forward(self, method: str, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        return getattr(self.autoencoder, method)(x)


class Stack(nn.Module):
    """`n_members` autoencoders side by side, as one computation where their parts bear it, and called one by one elsewhere.

    Our own layers take the weights of all members; others are batched by ``torch.vmap``, which costs a third more.

    Parameters
    ----------
    autoencoders : list of Autoencoder
        With equal modules; only their weights and buffers differ.
    n_inputs : int
        What each takes.
    """

    def __init__(self, autoencoders: list[Autoencoder], n_inputs: int):
        super().__init__()
        self.latent, self.loss = autoencoders[0].latent, autoencoders[0].loss
        self.n_members = len(autoencoders)
        members = [Member(autoencoder) for autoencoder in autoencoders]
        parameters, buffers = stack_module_state(members)
        self._untouched = [copy.deepcopy(members[0])]  # in a list, so that its own weights are not parameters of this module
        self._of_thread = threading.local()
        self.learning = False
        trained = {name for name, p in members[0].named_parameters() if p.requires_grad}
        stacked = {slashed(name): nn.Parameter(p.detach(), name in trained) for name, p in parameters.items()}
        self.stacked = nn.ParameterDict(stacked)
        for name, buffer in buffers.items():
            self.register_buffer(slashed(name), buffer)
        self._buffer_names = list(buffers)
        self.register_buffer("ramp", torch.ones(()), persistent=False)
        self.mode = self._find_mode(autoencoders[0], n_inputs)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Raw reconstructions and, if any, costs (n_members, n_samples) of batches (n_members, n_samples, n_inputs)."""
        return self.each("forward", x)

    def losses_and_costs(self, x: Tensor, raw: Tensor, cost: Tensor | None) -> Tensor:
        """Loss and cost of each member's rows, of shape (n_members, n_samples)."""
        n_members, n, n_inputs = x.shape
        loss = self.loss(raw.flatten(0, 1), x.flatten(0, 1)).view(n_members, n)
        if self.latent.stochastic:
            loss = torch.stack([self.loss.nats(one, n_inputs) for one in loss])
        return loss if cost is None else loss + self.ramp * cost

    def each(self, method: str, x: Tensor):
        """Call a method of every member on its part of `x`."""
        parameters = {dotted(name): p for name, p in self.stacked.items()}
        buffers = {name: self.get_buffer(slashed(name)) for name in self._buffer_names}
        template = self._template()

        def call(p, b, one):
            return functional_call(template, (p, b), (method, one))

        if self.mode == "together":
            return call(parameters, {name: b.unsqueeze(1) for name, b in buffers.items()}, x)
        if self.mode == "vmap":
            return torch.vmap(call, randomness="different")(parameters, buffers, x)
        results = [call(nth(parameters, i), nth(buffers, i), x[i]) for i in range(len(x))]
        if isinstance(results[0], tuple):
            return tuple(torch.stack(parts) for parts in zip(*results, strict=True))
        return torch.stack(results)

    def state_of(self, member: int) -> dict[str, Tensor]:
        """The weights and buffers of one autoencoder, by their own names."""
        tensors = {dotted(name): p.detach() for name, p in self.stacked.items()}
        tensors |= {name: self.get_buffer(slashed(name)) for name in self._buffer_names}
        return {name.removeprefix("autoencoder."): tensor[member].clone() for name, tensor in tensors.items()}

    def _template(self) -> Member:
        """This thread's own empty member, into which weights are put while it is called."""
        if not hasattr(self._of_thread, "template"):
            self._of_thread.template = copy.deepcopy(self._untouched[0])
        template = self._of_thread.template
        if template.training != self.training:
            template.train(self.training)
        template.autoencoder.learning = self.learning
        return template

    def _find_mode(self, one: Autoencoder, n_inputs: int) -> str:
        """How members are called: ``"together"``, by ``"vmap"``, or in a ``"loop"`` if parts do not bear it, as control flow that
        depends on data does not."""
        plain = one.corruption is None and type(one.latent) is Latent
        if plain and bears_members(one.encoder) and bears_members(one.decoder):
            return "together"
        self.mode, self.learning = "vmap", True
        try:
            with torch.no_grad():
                self.each("forward", torch.zeros(self.n_members, 2, n_inputs))
        except (RuntimeError, ValueError):
            return "loop"
        finally:
            self.learning = False
        return "vmap"


def bears_members(module: nn.Module) -> bool:
    """Whether a module is made of nothing but our layers, which take stacked weights, and of what computes entry by entry."""

    def known(m: nn.Module) -> bool:
        return type(m) in ENTRY_BY_ENTRY or "takes_members" in vars(type(m))

    return all(known(m) and not (m._forward_hooks or m._forward_pre_hooks or m._backward_hooks) for m in module.modules())


def sum_over_members(loss: Tensor) -> Tensor:
    """The same numbers, whose mean over members and samples has the gradient of the sum over members of means over samples."""
    return len(loss) * loss - (len(loss) - 1) * loss.detach()


def nth(tensors: dict[str, Tensor], i: int) -> dict[str, Tensor]:
    return {name: tensor[i] for name, tensor in tensors.items()}


def slashed(name: str) -> str:
    """Names of parameters without dots, which torch does not allow in a name of one's own."""
    return name.replace(".", "/")


def dotted(name: str) -> str:
    return name.replace("/", ".")

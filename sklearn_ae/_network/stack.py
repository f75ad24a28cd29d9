"""Several networks of one shape, their parameters stacked, run as one batched computation."""

from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from sklearn_ae._data.batch import Batch
from sklearn_ae._layers import ACTIVATIONS
from sklearn_ae._network.autoencoder import Autoencoder
from sklearn_ae._network.whitening import Whitening

M = TypeVar("M", bound=nn.Module)

ENTRY_BY_ENTRY = {*ACTIVATIONS.values(), nn.Dropout, nn.Sequential}
# share of a batch's rows, those with the largest losses, that a network does not learn from
TRIMMED = 0.5


class Stack(nn.Module):
    """`n_networks` autoencoders side by side: one autoencoder whose weights have a first axis of
    that length.

    If all of its layers take stacked weights, it is called as it is. Otherwise it is called by
    ``torch.vmap``, which costs a third more, or network by network where ``vmap`` cannot be used.
    All see all features, whitened in part. Its code is the networks' codes side by side, and its
    reconstruction the mean of theirs.

    Parameters
    ----------
    networks : list of Autoencoder
        With equal modules; only their weights and buffers differ.
    n_features : int
    n_components : int
        Length of each network's code.
    whitens : bool
        Whether the networks see whitened rows.
    """

    def __init__(
        self, networks: list[Autoencoder], n_features: int, n_components: int, whitens: bool
    ):
        super().__init__()
        self.n_networks, self.n_components = len(networks), n_components
        self.whitening = Whitening(n_features, whitens)
        self.network = stacked(networks)
        self.mode = self._find_mode(n_features)

    @property
    def latent(self):
        return self.network.latent

    @property
    def loss(self):
        return self.network.loss

    @property
    def filler(self):
        return self.network.filler

    @property
    def learning(self) -> bool:
        return self.network.learning

    @learning.setter
    def learning(self, value: bool) -> None:
        self.network.learning = value

    @property
    def cost_weight(self) -> Tensor:
        return self.network.cost_weight

    # Training, on whitened rows of each network's own, of shape (n_networks, n_samples, n_features)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, ...]:
        """Raw reconstructions and, if any, costs (n_networks, n_samples)."""
        return self.each("forward", x, mask)

    def objective(
        self, batch: Batch, raw: Tensor, cost: Tensor | None = None, h: Tensor | None = None
    ) -> Tensor:
        """Loss and cost of each network's rows (n_networks, n_samples); those of the largest have
        no weight, and latents do not learn from them either.
        """
        loss, n = self._losses_and_costs(batch, raw, cost), batch.n_rows
        n_kept = max(1, n - int(TRIMMED * n))
        kept = loss <= loss.detach().kthvalue(n_kept, dim=1, keepdim=True).values
        if h is not None:
            self.each("update_latent", h, batch.weighted(kept * (n / n_kept)))
        return torch.where(kept, loss, 0) * (n / n_kept)

    def _losses_and_costs(self, batch: Batch, raw: Tensor, cost: Tensor | None) -> Tensor:
        mask = None if batch.mask is None else batch.mask.flatten(0, 1)
        loss = self.loss(raw.flatten(0, 1), batch.x.flatten(0, 1), mask).view(batch.x.shape[:2])
        if self.latent.stochastic:
            observed = [batch.x.shape[2]] * len(loss) if batch.mask is None else batch.mask.sum(2)
            loss = torch.stack(
                [
                    self.loss.negative_log_likelihood(*one)
                    for one in zip(loss, observed, strict=True)
                ]
            )
        return loss if cost is None else loss + self.cost_weight[:, None] * cost

    # Nothing random from here on, on rows of shape (n_samples, n_features)

    def encoder_output(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """What the encoders give (n_samples, n_networks, n_outputs)."""
        return self.each("encoder_output", *self.shared(x, mask)).transpose(0, 1)

    def encode(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """The networks' codes side by side (n_samples, n_networks * n_components)."""
        return self.each("encode", *self.shared(x, mask)).transpose(0, 1).flatten(1)

    def decode(self, z: Tensor) -> Tensor:
        """The mean of the networks' reconstructions (n_samples, n_features) in scaled units."""
        codes = z.unflatten(1, (self.n_networks, self.n_components)).transpose(0, 1).contiguous()
        return self.whitening.inverse(self.each("decode", codes).mean(0))

    def reconstruct(
        self, x: Tensor, mask: Tensor | None = None, n_components: int | None = None
    ) -> Tensor:
        """The same, of rows with missing values too; from the first components of ordered codes."""
        z = self.encode(x, mask)
        if n_components is not None:
            codes = z.unflatten(1, (self.n_networks, self.n_components))
            z = self.latent.truncate(codes, n_components).flatten(1)
        return self.decode(z)

    def residuals(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """The networks' absolute errors (n_networks, n_samples, n_features), on whitened rows; 0
        where a value is missing.
        """
        x, mask = self.shared(x, mask)
        residuals = (self.each("reconstruct", x, mask) - x).abs_()
        return residuals if mask is None else torch.where(mask, residuals, 0)

    def elementwise(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """The loss of each entry (n_samples, n_features), on whitened rows, in the networks' mean;
        NaN where it is missing.
        """
        x, mask = self.shared(x, mask)
        losses = self.loss.elementwise(
            self.each("raw_output", x, mask).flatten(0, 1), x.flatten(0, 1)
        )
        losses = losses.view(x.shape).mean(0)
        return losses if mask is None else torch.where(mask[0], losses, torch.nan)

    def shared(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Rows, whitened, as each network sees them (n_networks, n_samples, n_features)."""
        x = self.whitening(x, mask)
        return x.expand(self.n_networks, -1, -1), None if mask is None else mask.expand(
            self.n_networks, -1, -1
        )

    def sample_codes(self, h: Tensor, rows: Tensor, generator: torch.Generator) -> Tensor:
        """Codes near those of some rows of `h`, which ``encoder_output`` gave."""
        networks = zip(map(self.network_of, range(self.n_networks)), h.transpose(0, 1), strict=True)
        return torch.cat(
            [network.sample_codes(one, rows, generator) for network, one in networks], 1
        )

    def each(self, method: str, x: Tensor, mask: Tensor | None = None):
        """Call a method of every network on its part of `x` and, if there is one, of `mask`."""
        inputs = (x,) if mask is None else (x, mask)
        if self.mode == "together":
            return getattr(self.network, method)(*inputs)
        tensors = dict(stacked_tensors(self.network))

        def call(own: dict[str, Tensor], *inputs: Tensor):
            network = with_tensors(self.network, own)
            result = getattr(network, method)(*inputs)
            return result, {
                name: new for name, new in network.named_buffers() if new is not own.get(name, new)
            }

        if self.mode == "vmap":
            result, assigned = torch.vmap(call, randomness="different")(tensors, *inputs)
        else:
            each = range(self.n_networks)
            results = [
                call(
                    {name: tensor[i] for name, tensor in tensors.items()},
                    *(one[i] for one in inputs),
                )
                for i in each
            ]
            result, assigned = (
                stack_results([r for r, _ in results]),
                stack_results([a for _, a in results]),
            )
        with torch.no_grad():
            for name, buffer in assigned.items():  # what a module has set, and not changed in place
                tensors[name].copy_(buffer)
        return result

    def network_of(self, i: int) -> Autoencoder:
        """One autoencoder, with views of its weights and buffers."""
        return with_tensors(
            self.network, {name: tensor[i] for name, tensor in stacked_tensors(self.network)}
        )

    def state_of(self, i: int) -> dict[str, Tensor]:
        """The weights and buffers of one autoencoder, by its names for them."""
        # one that is shared has several names
        own = {id(tensor) for _, tensor in stacked_tensors(self.network)}
        state = self.network.state_dict(keep_vars=True)
        return {
            name: (tensor[i] if id(tensor) in own else tensor).detach().clone()
            for name, tensor in state.items()
        }

    def _find_mode(self, n_features: int) -> str:
        """How networks are called: ``"together"``, by ``"vmap"``, or in a ``"loop"`` where parts
        cannot be batched.

        Parts whose control flow depends on data cannot.
        """
        one = self.network
        plain = one.corruption is None and not one.copies_input and one.filler is None
        plain = plain and "supports_batched_codes" in vars(type(one.latent))
        if (
            plain
            and supports_batched_weights(one.encoder)
            and supports_batched_weights(one.decoder)
        ):
            return "together"
        modes = [(module, module.training) for module in one.modules()]
        before = [(buffer, buffer.clone()) for buffer in one.buffers()]
        self.mode = "vmap"
        try:
            with torch.no_grad():
                for training in (True, False):
                    one.train(training)
                    self.learning = training
                    self.each("forward", torch.zeros(self.n_networks, 2, n_features))
        # whatever a user's module raises; if it was not vmap's fault, it will be raised again
        except Exception:
            return "loop"
        finally:
            self.learning = False
            for module, training in modes:
                module.training = training
            for buffer, values in before:  # statistics that the trial has moved
                buffer.copy_(values)
        return "vmap"


def stacked(networks: list[Autoencoder]) -> Autoencoder:
    """A copy of the first network that holds the weights and buffers of all, but for those of the
    loss, which they share.
    """
    tensors = {}
    for own in zip(*map(stacked_tensors, networks), strict=True):
        name, first = own[0]
        # torch.stack on the meta device, where files are checked, imports torch's compiler
        values = first.detach().new_empty(len(networks), *first.shape)
        for value, (_, one) in zip(values, own, strict=True):
            value.copy_(one.detach())
        tensors[name] = (
            nn.Parameter(values, first.requires_grad) if isinstance(first, nn.Parameter) else values
        )
    return with_tensors(networks[0], tensors)


def stacked_tensors(network: Autoencoder) -> list[tuple[str, Tensor]]:
    """The weights and buffers that each network has of its own, by name."""
    named = [*network.named_parameters(), *network.named_buffers()]
    return [(name, tensor) for name, tensor in named if not name.startswith("loss.")]


def with_tensors(module: M, tensors: dict[str, Tensor]) -> M:
    """A copy of a module's objects, down to the last child, that holds other tensors; those that it
    names twice stay one.

    The module itself is left as it is, so that threads may do this at the same time.
    """
    named = [*module.named_parameters(), *module.named_buffers()]
    new = {id(old): tensors.get(name, old) for name, old in named}
    copies: dict[int, nn.Module] = {}

    def copied(old: Any) -> Any:
        if id(old) in copies:
            return copies[id(old)]
        one = copies[id(old)] = old.__new__(type(old))
        one.__dict__.update(old.__dict__)
        one._parameters = {
            name: tensor if tensor is None else new[id(tensor)]
            for name, tensor in old._parameters.items()
        }
        one._buffers = {
            name: tensor if tensor is None else new[id(tensor)]
            for name, tensor in old._buffers.items()
        }
        one._modules = {
            name: child if child is None else copied(child) for name, child in old._modules.items()
        }
        if isinstance(one, nn.RNNBase):
            one._flat_weights = [getattr(one, name) for name in one._flat_weights_names]
        return one

    return copied(module)


def supports_batched_weights(module: nn.Module) -> bool:
    """Whether a module consists of our layers, which take stacked weights, and of modules that
    compute entry by entry.
    """

    def known(m: nn.Module) -> bool:
        return type(m) in ENTRY_BY_ENTRY or "supports_batched_weights" in vars(type(m))

    return all(
        known(m) and not (m._forward_hooks or m._forward_pre_hooks or m._backward_hooks)
        for m in module.modules()
    )


def stack_results(results: list):
    """Stack tensors, or tuples or dictionaries of them, one by one."""
    first = results[0]
    if isinstance(first, dict):
        return {name: torch.stack([one[name] for one in results]) for name in first}
    if isinstance(first, tuple):
        return tuple(torch.stack(parts) for parts in zip(*results, strict=True))
    return torch.stack(results)

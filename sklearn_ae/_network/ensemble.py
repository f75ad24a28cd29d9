"""Many small autoencoders side by side, with the interface of one.

Each member has rows and features of its own: a trained network, and hands of rows of which the nearest reconstructs a row. Beside
them stand margins and dependences, which are of all rows.
"""

from typing import Any

import torch
from torch import Tensor, nn

from sklearn_ae._data.batch import Batch
from sklearn_ae._network.autoencoder import Autoencoder
from sklearn_ae._network.dependences import Dependences
from sklearn_ae._network.margins import Margins
from sklearn_ae._network.nearest import Hands, itself, median, share_seen, typical
from sklearn_ae._network.stack import Stack

SCALE_ROWS = 1_024  # rows from which the weights of the score's parts are computed
TRIMMED = 0.25  # share of a batch's rows, the worst reconstructed, that a member does not learn from
NORMAL = 1.4826  # standard deviations of a normal distribution in its median absolute deviation
MARGIN_WEIGHT, HALF_MARGIN = 0.5, 16  # that of margins and dependences with few features, and the features that halve it


class Mask(nn.Module):
    """Switches off all but the first `n_active` components of a code."""

    supports_batched_weights = True  # see Linear
    mask: Tensor

    def __init__(self, n_components: int, n_active: int):
        super().__init__()
        self.register_buffer("mask", (torch.arange(n_components) < n_active).float())

    def forward(self, z: Tensor) -> Tensor:
        return z * self.mask.unsqueeze(-2)


class Ensemble(Stack):
    """`n_members` autoencoders of one shape.

    Parameters
    ----------
    members : list of Autoencoder
        With equal modules; only their weights and masks differ.
    features : Tensor of shape (n_members, n_seen), integer
        Which features each member sees.
    active : list of int
        How many components of its code each member uses.
    n_features : int
        Columns of the data.
    n_hands : int
        Hands of rows of all members.
    trained_share : float
        The part of the trained networks in the score of a typical row, beside the hands'.
    """

    features: Tensor
    weight: Tensor
    hands_weight: Tensor

    def __init__(
        self, members: list[Autoencoder], features: Tensor, active: list[int], n_features: int, n_hands: int, trained_share: float
    ):
        super().__init__(members, features.shape[1])
        self.n_features, self.active, self.trained_share = n_features, active, trained_share
        self.hands, self.margins, self.dependences = Hands(n_features, n_hands), Margins(n_features), Dependences(n_features)
        self.register_buffer("features", features)
        self.register_buffer("weight", torch.ones(features.shape))  # of a residual in a row's score
        self.register_buffer("hands_weight", torch.ones(()))

    def objective(self, batch: Batch, raw: Tensor, cost: Tensor | None = None) -> Tensor:
        """Loss and cost of each member's rows (n_members, n_samples); the worst rows of each member have no weight."""
        loss, n = self.losses_and_costs(batch, raw, cost), batch.n_rows
        n_kept = max(1, n - int(TRIMMED * n))
        kept = loss <= loss.detach().kthvalue(n_kept, dim=1, keepdim=True).values
        return torch.where(kept, loss, 0) * (n / n_kept)

    @torch.no_grad()
    def calibrate(self, own: Batch, rows: Batch, hands: Tensor) -> None:
        """Deal the hands, learn the margins, and set the weights of all parts of the score.

        A residual is divided by a robust scale of its member's and feature's residuals, a row's sum by the median of its
        member's, and the sum over members so that a typical row has an outlyingness of 1. Hands, margins and dependences are
        divided by what is typical of theirs.

        Parameters
        ----------
        own : Batch of (n_members, n_samples, n_seen)
            The members' training rows.
        rows : Batch of (n_rows, n_features)
            Some rows of the whole, among them those to be dealt.
        hands : Tensor of shape (n_hands, n_dealt), integer
            Which rows are dealt to which hand.
        """
        residuals = (self.loss.inverse_link(self(own.x, own.mask)[0]) - own.x).abs()
        observed = residuals if own.mask is None else torch.where(own.mask, residuals, torch.nan)
        scale = NORMAL * observed.nanmedian(1).values + 0.1 * observed.square().nanmean(1).sqrt()  # (n_members, n_seen)
        scale = scale.nan_to_num(0.0) + 0.1
        sums = for_all_features(residuals / scale[:, None], own.mask).sum(2)  # (n_members, n_samples)
        self.weight.copy_(1 / (scale * torch.stack([median(one) for one in sums])[:, None]))

        x, mask = rows.x, rows.mask
        filled = x if mask is None else torch.where(mask, x, self.restore(x, mask))
        self.hands.deal(filled, hands)
        self.margins.learn(x, mask)
        self.dependences.learn(filled)
        some, seen = x[:SCALE_ROWS], None if mask is None else mask[:SCALE_ROWS]
        trained = self.residuals(some, seen).sum(2).sum(0)
        distances = self.hands(some, seen, itself(hands, len(some)))
        margins, dependences = margin_sums(self.margins, some, seen), self.dependences(some, seen).sum(1)
        weights = [
            self.trained_share / median(trained),
            (1 - self.trained_share) / typical(distances),
            margin_weight(self.n_features) / typical(margins).clamp_min(0.05),
            margin_weight(self.n_features) * self.dependences.closeness() / typical(dependences),
        ]
        total = sum(weight * part for weight, part in zip(weights, (trained, distances, margins, dependences), strict=True))
        trained_weight, hands_weight, margins_weight, dependences_weight = (w / median(total).clamp_min(0.1) for w in weights)
        self.weight.mul_(trained_weight)
        self.hands_weight.copy_(hands_weight)
        self.margins.values.mul_(margins_weight)
        self.dependences.weight.mul_(dependences_weight)

    # Inference, on rows of shape (n_samples, n_features), nothing random

    def residuals(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Each member's weighted absolute residuals, of shape (n_members, n_samples, n_seen). Those of observed values stand for
        the missing ones beside them."""
        x, mask = self.seen(x), self.seen(mask)
        values = (self.loss.inverse_link(self.each("reconstruct", x, mask)) - x).abs_().mul_(self.weight[:, None])
        return for_all_features(values, mask)

    def losses(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """The outlyingness of each row (n_samples,): of the trained networks, the hands, the margins and the dependences."""
        x = x if mask is None else torch.where(mask, x, 0)
        trained = self.residuals(x, mask).sum(2).sum(0)
        far_out = trained + self.hands_weight * self.hands(x, mask) + margin_sums(self.margins, x, mask)
        return far_out + for_all_features(self.dependences(x, mask), mask).sum(1)

    def contributions(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """The part of each feature in it (n_samples, n_features)."""
        x = x if mask is None else torch.where(mask, x, 0)
        hands = self.hands_weight * self.hands.contributions(x, mask)
        apart = for_all_features(self.margins(x) + self.dependences(x, mask), mask)
        return self._gather(self.residuals(x, mask)) + hands + apart

    def elements(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """The loss of each entry (n_samples, n_features), in the mean over the members that see it; NaN where it is missing."""
        seen = self.seen(x)
        raw = self.each("reconstruct", seen, self.seen(mask))
        losses = self.loss.elements(raw.flatten(0, 1), seen.flatten(0, 1)).view(seen.shape)
        losses = self._gather(losses) / self._watched()
        return losses if mask is None else torch.where(mask, losses, torch.nan)

    def encoder_output(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """What the encoders give (n_samples, n_members, n_outputs)."""
        return self.each("encoder_output", self.seen(x), self.seen(mask)).transpose(0, 1)

    def encode(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """The members' codes side by side (n_samples, sum of active components)."""
        return self._side_by_side(self.each("encode", self.seen(x), self.seen(mask)))

    def decode(self, z: Tensor) -> Tensor:
        """The mean of the members' reconstructions (n_samples, n_features); zero (the middle) for features that no member sees."""
        members, components = self._places()
        codes = z.new_zeros(self.n_networks, z.shape[0], self.network.decoder[0].mask.shape[-1])
        codes[members, :, components] = z.T
        return self._gather(self.each("decode", codes)) / self._watched()

    def restore(self, x: Tensor, mask: Tensor | None = None, n_components: int | None = None) -> Tensor:
        """The mean of the members' reconstructions (n_samples, n_features), of missing values too."""
        z = self.encode(x, mask)
        if n_components is not None:  # the first of each member's
            z = torch.cat([self.latent.truncate(part, n_components) for part in z.split(self.active, 1)], 1)
        return self.decode(z)

    def sample_codes(self, h: Tensor, rows: Tensor, generator: torch.Generator) -> Tensor:
        """Codes near those of some rows of `h`, which ``encoder_output`` gave."""
        members = zip(map(self.network_of, range(self.n_networks)), h.transpose(0, 1), strict=True)
        return self._side_by_side(torch.stack([member.sample_codes(one, rows, generator) for member, one in members]))

    def seen(self, x: Any) -> Any:
        """What each member sees of some rows, of shape (n_members, n_samples, n_seen)."""
        return None if x is None else x.T[self.features].transpose(1, 2)

    def _side_by_side(self, codes: Tensor) -> Tensor:
        members, components = self._places()
        return codes[members, :, components].T.contiguous()

    def _places(self) -> tuple[Tensor, Tensor]:
        """The member and the component of each column of the codes side by side."""
        pairs = [(member, component) for member, n in enumerate(self.active) for component in range(n)]
        members, components = torch.tensor(pairs, device=self.features.device).T
        return members, components

    def _gather(self, values: Tensor) -> Tensor:
        """Sum members' values (n_members, n_samples, n_seen) feature by feature."""
        flat = values.transpose(0, 1).flatten(1)  # (n_samples, n_members * n_seen)
        return flat.new_zeros(flat.shape[0], self.n_features).index_add_(1, self.features.flatten(), flat)

    def _watched(self) -> Tensor:
        """How many members see each feature, at least 1."""
        seen = self.features.flatten()
        return (
            torch.zeros(self.n_features, device=seen.device)
            .index_add_(0, seen, torch.ones(seen.shape, device=seen.device))
            .clamp_min(1)
        )


def for_all_features(values: Tensor, mask: Tensor | None) -> Tensor:
    """Values (..., n_samples, n_features), scaled so that the sum over those observed stands for the sum over all."""
    if mask is None:
        return values
    return torch.where(mask, values, 0) * share_seen(mask)[..., None]


def margin_sums(margins: Margins, x: Tensor, mask: Tensor | None) -> Tensor:
    return for_all_features(margins(x), mask).sum(1)


def margin_weight(n_features: int) -> float:
    """With many features their sum says little: whole rows are then far out in some."""
    return MARGIN_WEIGHT * HALF_MARGIN / (n_features + HALF_MARGIN)

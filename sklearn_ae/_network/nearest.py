"""Rows reconstructed by the nearest of some training rows: all within a memory, or within each of many hands of a few."""

import torch
from torch import Tensor, nn

NEAREST, AROUND = 3, 10  # rows whose mean is the reconstruction; rows whose own residuals it is measured by
RESOLUTION = 1e-4  # of a row's squared length: squared distances below it are mostly rounding
RESOLVED = 1e-3  # residuals of a row below it are mostly rounding too
MEMORY_BLOCK = 256  # rows that are compared with the memory at a time while it is filled


class Rows(nn.Module):
    """Training rows that are kept.

    Parameters
    ----------
    n_features : int
    """

    def __init__(self, n_features: int):
        super().__init__()
        self.register_buffer("rows", torch.zeros(0, n_features))
        self.register_buffer("squared", torch.zeros(0, 1))

    def keep(self, rows: Tensor) -> None:
        self.rows, self.squared = rows, rows.square().sum(1, keepdim=True)

    def distances(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Squared distances over what was observed, less the rows' own squares (n_kept, n_samples); `x` is zero in gaps."""
        if mask is not None:
            return torch.sub(self.rows.square() @ mask.T.to(x.dtype), self.rows @ x.T, alpha=2)
        extended = torch.cat([-2 * self.rows, self.squared], 1)
        return extended @ nn.functional.pad(x.T, (0, 0, 0, 1), value=1.0)  # rows as columns: see _layers

    def _load_from_state_dict(self, state: dict, prefix: str, *args) -> None:
        found = {name: state[prefix + name] for name in self._buffers if prefix + name in state}
        shapes = {name: tuple(one.shape) for name, one in found.items()}
        if len({shape[:1] for shape in shapes.values()}) > 1:
            raise ValueError(f"not as many of each are kept: {shapes}")
        for name, one in found.items():  # as many rows as were kept
            if one.shape[1:] == getattr(self, name).shape[1:]:  # otherwise torch tells
                setattr(self, name, torch.empty_like(one, device=self.rows.device))
        super()._load_from_state_dict(state, prefix, *args)


class Memory(Rows):
    """Reconstructs a row by the mean of the nearest kept rows.

    Residuals are to be divided by the root of those that the kept rows around have themselves, so that sparse regions, where all
    rows lie far from one another, do not make outliers. The same is known for the residuals of other models.

    Parameters
    ----------
    n_features, n_models : int
        This one among the models.
    """

    def __init__(self, n_features: int, n_models: int = 1):
        super().__init__(n_features)
        self.register_buffer("usual", torch.zeros(0, n_models))  # what residuals are usual at each kept row

    def fill(self, rows: Tensor, *others: Tensor) -> Tensor:
        """Keep these rows, and what residuals other models have there (n_rows,).

        Gives the sums of the residuals that each row has when it is left out, beside those of the others (n_rows, n_models), all
        divided by the root of what is usual around.
        """
        self.keep(rows)
        own, around = [], []
        for start in range(0, len(rows), MEMORY_BLOCK):
            x = rows[start : start + MEMORY_BLOCK]
            nearest = self._nearest(x, None, torch.arange(start, start + len(x), device=x.device))
            own.append((x - self._middle(nearest)).abs().sum(1))
            around.append(nearest)
        models = [torch.cat(own), *others]
        self.usual = torch.stack([residuals + 0.1 * typical(residuals) + 1e-3 for residuals in models], 1)
        return torch.stack(models, 1) / self._usual_around(torch.cat(around)).sqrt()

    def forward(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Residuals of rows (n_samples, n_features), and what is usual around for each model (n_samples, n_models)."""
        nearest = self._nearest(x, mask)
        return (x - self._middle(nearest)).abs(), self._usual_around(nearest)

    def _nearest(self, x: Tensor, mask: Tensor | None, own: Tensor | None = None) -> Tensor:
        """Positions of the kept rows that are nearest, the nearest first (n_samples, at most AROUND)."""
        distances = self.distances(x, mask)
        n_kept = len(distances)
        if own is not None and n_kept > 1:
            distances[own, torch.arange(len(own), device=x.device)] = torch.inf
            n_kept -= 1
        return distances.T.contiguous().topk(min(AROUND, n_kept), largest=False).indices

    def _middle(self, nearest: Tensor) -> Tensor:
        return self.rows[nearest[:, :NEAREST]].mean(1)

    def _usual_around(self, nearest: Tensor) -> Tensor:
        return self.usual[nearest].mean(1)


class Hands(Rows):
    """Reconstructs a row by the nearest row of each of many hands of a few rows, which are kept one hand after the other.

    Each hand is a vector-quantising autoencoder: its code is which row is nearest. With few rows in a hand, outliers among them
    are rare, and clusters of outliers too.

    Parameters
    ----------
    n_features, n_hands : int
    """

    def __init__(self, n_features: int, n_hands: int):
        super().__init__(n_features)
        self.n_hands = n_hands

    def deal(self, rows: Tensor, positions: Tensor) -> None:
        """Keep some rows, those at `positions` (n_hands, n_dealt)."""
        self.keep(rows[positions.flatten()])

    def forward(self, x: Tensor, mask: Tensor | None = None, own: Tensor | None = None) -> Tensor:
        """Mean distance to the nearest row of each hand (n_samples,).

        `own`, of shape (n_kept, n_samples), is True for kept rows that are the row itself and do not count.
        """
        return self._whole(self._within(x, mask, own).amin(1), x, mask).mean(0)

    def contributions(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """The part of each feature in it (n_samples, n_features): its share of the squared distance, for each hand.

        Feature by feature it is the sum over hands of ``(x - row) ** 2 / distance``, multiplied out: one product of matrices.
        """
        within = self._within(x, mask)
        squares, which = within.min(1, keepdim=True)
        weights = torch.zeros_like(within).scatter_(1, which, 1 / self._whole(squares, x, mask).clamp_min(1e-15)).flatten(0, 1)
        total, means, powers = weights.sum(0)[:, None], (self.rows.T @ weights).T, (self.rows.square().T @ weights).T
        parts = (x * (x * total * (1 + RESOLUTION) - 2 * means) + powers).clamp_min(0) / self.n_hands
        return parts if mask is None else torch.where(mask, parts, 0) * share_seen(mask)[:, None]

    def _within(self, x: Tensor, mask: Tensor | None, own: Tensor | None = None) -> Tensor:
        """What `distances` gives, hand by hand (n_hands, n_dealt, n_samples)."""
        distances = self.distances(x, mask)
        if own is not None:
            distances = distances.masked_fill(own, torch.inf)
        return distances.view(self.n_hands, -1, x.shape[0])

    @staticmethod
    def _whole(squares: Tensor, x: Tensor, mask: Tensor | None) -> Tensor:
        """Distances in all features, from squared ones in those observed that lack the rows' own squares."""
        own = x.square().sum(1)
        squares = (squares + own).clamp_min(0) + RESOLUTION * own  # without it, rounding decides how near a row is to itself
        return (squares if mask is None else squares * share_seen(mask)).sqrt()


def share_seen(mask: Tensor) -> Tensor:
    """By what a sum over the observed features (the last axis) is multiplied, to stand for the sum over all (..., n_samples)."""
    return mask.shape[-1] / mask.sum(-1).clamp_min(1)


def itself(hands: Tensor, n_rows: int) -> Tensor | None:
    """Which of the rows in the hands are a row itself (n_dealt, n_rows), for rows 0 to n_rows; None if hands have only one."""
    return hands.flatten()[:, None] == torch.arange(n_rows, device=hands.device) if hands.shape[1] > 1 else None


def typical(values: Tensor) -> Tensor:
    """Half the median and half the mean, of which no value has more than 20 medians of those that are not zero: positive even if
    most are."""
    apart = values[values > RESOLVED]
    most = 20 * apart.median() + RESOLVED if len(apart) else RESOLVED
    return (0.5 * values.median() + 0.5 * values.clamp_max(most).mean()).clamp_min(RESOLVED)


def median(values: Tensor) -> Tensor:
    """The median, but at least half of what is typical: where most rows are copies of one, they have nothing."""
    return values.median().maximum(0.5 * typical(values))

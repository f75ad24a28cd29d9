r"""Latents: what the code of an autoencoder is, and what it costs.

An encoder gives ``h``; a latent turns it into the code ``z`` and adds a cost, one number per sample, to the
reconstruction loss:

.. math:: \text{objective} = \frac1n \sum_i \big[\text{loss}(\text{raw}_i, x_i) + \text{cost}_i\big]

Reconstruction losses are means over the features, in scaled units; compare the weights below with those.
Your own latent derives from `Latent` and overrides what differs from a plain code.
"""

from numbers import Real

import torch
from sklearn.utils._param_validation import Interval, StrOptions
from torch import Tensor, nn

from sklearn_ae._component import Part

__all__ = ["Contractive", "Sparse", "Variational"]


class Latent(Part):
    """Base of the latents, and the plain code: what the encoder gives, at no cost.

    Attributes
    ----------
    stochastic : bool
        Whether the code is random with a standard normal prior. Its cost is then weighed against a log-likelihood in nats, not
        against the plain loss, and the code starts with unit variance.
    """

    slot = "latent"
    stochastic = False

    def n_outputs(self, n_components: int) -> int:
        """How many numbers the encoder gives for a code of `n_components`."""
        return n_components

    def build(self, n_components: int):
        """What the network uses as its latent: this object itself, which has no weights.

        A latent with weights of its own, such as a codebook, gives an ``nn.Module`` that has the attribute `stochastic` and the
        methods ``code``, ``cost``, ``cost_weight`` and ``sample_codes`` of this class; `LatentModule` is a base for it.

        Parameters
        ----------
        n_components : int
            Length of a code.
        """
        return self

    def code(self, h: Tensor, sample: bool) -> Tensor:
        """Turn the encoder's output into a code.

        Parameters
        ----------
        h : Tensor of shape (n_samples, n_outputs)
            The encoder's output.
        sample : bool
            Whether a random code is drawn (training, sampling) or its centre given (everywhere else).

        Returns
        -------
        z : Tensor of shape (n_samples, n_components)
        """
        return h

    def cost(self, h: Tensor, x: Tensor, encoder: nn.Module) -> Tensor | None:
        """What the code costs.

        Parameters
        ----------
        h : Tensor of shape (n_samples, n_outputs)
            The encoder's output for `x`.
        x : Tensor of shape (n_samples, n_features)
            What the encoder saw: scaled and, in training, corrupted.
        encoder : nn.Module
            The encoder itself.

        Returns
        -------
        Tensor of shape (n_samples,), or None for no cost
        """
        return None

    def cost_weight(self, progress: float) -> float:
        """The weight of the cost, from 0 to 1, after a share `progress` of the planned training."""
        return 1.0

    def sample_codes(self, h: Tensor, rows: Tensor, generator: torch.Generator) -> Tensor:
        """Draw new codes near those of some rows.

        A normal kernel of Silverman's bandwidth stands around the code of every row.

        Parameters
        ----------
        h : Tensor of shape (n_samples, n_outputs)
            The encoder's outputs for rows of the training data.
        rows : Tensor of shape (n_draws,), integer
            Which rows to draw around.
        generator : torch.Generator
            The source of randomness.

        Returns
        -------
        z : Tensor of shape (n_draws, n_components)
        """
        z = self.code(h, sample=False)
        n, k = z.shape
        bandwidth = (n * (k + 2) / 4) ** (-1 / (k + 4))
        return z[rows] + bandwidth * z.std(0, correction=0) * torch.randn(len(rows), k, dtype=z.dtype, generator=generator)


class LatentModule(nn.Module):
    """Base of latents with weights of their own: a module with a latent's methods. By default they call those of `latent`.

    Parameters
    ----------
    latent : Latent
        The part with the parameters.

    Examples
    --------
    >>> import torch
    >>> from sklearn_ae.latents import Latent, LatentModule
    >>> class Scaled(Latent):
    ...     "A code with a learnt scale for each component."
    ...     def build(self, n_components):
    ...         return ScaledCode(self, n_components)
    >>> class ScaledCode(LatentModule):
    ...     def __init__(self, latent, n_components):
    ...         super().__init__(latent)
    ...         self.log_scale = torch.nn.Parameter(torch.zeros(n_components))
    ...     def code(self, h, sample):
    ...         return h * self.log_scale.exp()
    """

    def __init__(self, latent: Latent):
        super().__init__()
        self.latent = latent
        self.stochastic = latent.stochastic

    def code(self, h: Tensor, sample: bool) -> Tensor:
        return self.latent.code(h, sample)

    def cost(self, h: Tensor, x: Tensor, encoder: nn.Module) -> Tensor | None:
        return self.latent.cost(h, x, encoder)

    def cost_weight(self, progress: float) -> float:
        return self.latent.cost_weight(progress)

    def sample_codes(self, h: Tensor, rows: Tensor, generator: torch.Generator) -> Tensor:
        return Latent.sample_codes(self, h, rows, generator)  # type: ignore[arg-type]  # it has what that calls


class Sparse(Latent):
    r"""A code most of whose entries are near zero.

    ``penalty="l1"`` costs :math:`\alpha\sum_j |h_j|` a sample. ``penalty="kl"`` passes the code through a sigmoid and
    keeps the mean activation :math:`\hat\rho_j` of each component over the batch near a target rate [1]_:

    .. math:: \alpha\sum_j \rho\log\frac{\rho}{\hat\rho_j} + (1-\rho)\log\frac{1-\rho}{1-\hat\rho_j}

    Parameters
    ----------
    alpha : float, default=1e-3
        Weight of the penalty, against a loss that is a mean over features.
    penalty : {"l1", "kl"}, default="l1"
        Which penalty.
    target : float in (0, 1), default=0.05
        The target rate of ``"kl"``; ``"l1"`` does not use it.

    References
    ----------
    .. [1] Ng (2011), "Sparse Autoencoder", CS294A lecture notes, Stanford.
    """

    _parameter_constraints = {
        "alpha": [Interval(Real, 0, None, closed="left")],
        "penalty": [StrOptions({"l1", "kl"})],
        "target": [Interval(Real, 0, 1, closed="neither")],
    }

    def __init__(self, alpha: float = 1e-3, *, penalty: str = "l1", target: float = 0.05):
        self.alpha = alpha
        self.penalty = penalty
        self.target = target

    def code(self, h: Tensor, sample: bool) -> Tensor:
        return torch.sigmoid(h) if self.penalty == "kl" else h

    def cost(self, h: Tensor, x: Tensor, encoder: nn.Module) -> Tensor:
        if self.penalty == "l1":
            return self.alpha * h.abs().sum(1)
        rate = torch.sigmoid(h).mean(0).clamp(1e-6, 1 - 1e-6)
        rho = self.target
        divergence = rho * torch.log(rho / rate) + (1 - rho) * torch.log((1 - rho) / (1 - rate))
        return (self.alpha * divergence.sum()).expand(len(h))


class Contractive(Latent):
    r"""A code that moves little when the input does: :math:`\alpha\,\lVert\partial h/\partial x\rVert_F^2` a sample [1]_.

    The Jacobian is exact for every encoder that treats rows independently (so without batch normalisation); it
    costs one backward pass per component.

    Parameters
    ----------
    alpha : float, default=1e-3
        Weight of the penalty, against a loss that is a mean over features.

    References
    ----------
    .. [1] Rifai, Vincent, Muller, Glorot and Bengio (2011), "Contractive Auto-Encoders: Explicit Invariance During
       Feature Extraction", ICML.
    """

    _parameter_constraints = {"alpha": [Interval(Real, 0, None, closed="left")]}

    def __init__(self, alpha: float = 1e-3):
        self.alpha = alpha

    def cost(self, h: Tensor, x: Tensor, encoder: nn.Module) -> Tensor:
        with torch.enable_grad():  # validation runs without gradients, and the Jacobian needs them
            return self.alpha * squared_jacobian_norm(encoder, x)


def squared_jacobian_norm(function, x: Tensor) -> Tensor:
    """The squared Frobenius norm of the Jacobian of a row-wise function, one number per row.

    Parameters
    ----------
    function : callable
        From a tensor of shape (n_samples, n_features) to one of shape (n_samples, n_outputs), row by row.
    x : Tensor of shape (n_samples, n_features)

    Returns
    -------
    Tensor of shape (n_samples,)
    """
    h, pull_back = torch.func.vjp(lambda x: function(x.clone()), x)[:2]  # which may work in place
    directions = torch.eye(h.shape[1], dtype=h.dtype, device=h.device)
    rows = torch.func.vmap(lambda e: pull_back(e.expand_as(h))[0])(directions)  # (n_outputs, n_samples, n_features)
    return rows.square().sum((0, 2))


class Variational(Latent):
    r"""A random code with a standard normal prior: the variational autoencoder [1]_.

    The encoder gives a mean and a log-variance for each component; training draws
    :math:`z \sim N(\mu, \sigma^2)` and pays

    .. math:: \beta\,\mathrm{KL} = \frac\beta2\sum_j \mu_j^2 + \sigma_j^2 - \log\sigma_j^2 - 1

    against the log-likelihood of the features in nats. For squared and absolute errors the scale of the observation noise
    stands at its optimum for each batch [2]_, so that ``beta=1`` is the textbook bound whatever the scale of the data. The
    posterior mean is used wherever nothing is being trained or sampled.

    Parameters
    ----------
    beta : float, default=1.0
        Weight of the divergence; over 1 for more disentangled codes [3]_, under 1 for sharper reconstructions.
    warm_up : float in [0, 1], default=0.0
        Over this share of the planned training the weight rises from 0 to `beta`.
    free_bits : float, default=0.0
        Nats a component may spend at no cost, in the batch's mean [4]_; keeps components from being switched off.

    References
    ----------
    .. [1] Kingma and Welling (2014), "Auto-Encoding Variational Bayes", ICLR.
    .. [2] Rybkin, Daniilidis and Levine (2021), "Simple and Effective VAE Training with Calibrated Decoders", ICML.
    .. [3] Higgins et al. (2017), "beta-VAE", ICLR.
    .. [4] Kingma et al. (2016), "Improved Variational Inference with Inverse Autoregressive Flow", NeurIPS.
    """

    stochastic = True
    _parameter_constraints = {
        "beta": [Interval(Real, 0, None, closed="left")],
        "warm_up": [Interval(Real, 0, 1, closed="both")],
        "free_bits": [Interval(Real, 0, None, closed="left")],
    }

    def __init__(self, beta: float = 1.0, *, warm_up: float = 0.0, free_bits: float = 0.0):
        self.beta = beta
        self.warm_up = warm_up
        self.free_bits = free_bits

    def n_outputs(self, n_components: int) -> int:
        return 2 * n_components

    def code(self, h: Tensor, sample: bool) -> Tensor:
        mean, log_variance = split(h)
        if not sample:
            return mean
        return mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)

    def cost(self, h: Tensor, x: Tensor, encoder: nn.Module) -> Tensor:
        mean, log_variance = split(h)
        divergence = 0.5 * (mean.square() + log_variance.exp() - log_variance - 1)  # (n_samples, n_components)
        if self.free_bits:
            spends = divergence.mean(0, keepdim=True) > self.free_bits
            divergence = torch.where(spends, divergence, torch.full_like(divergence, self.free_bits))
        return self.beta * divergence.sum(1)

    def sample_codes(self, h: Tensor, rows: Tensor, generator: torch.Generator) -> Tensor:
        """Draw from the posteriors of the rows, together the code's distribution over the data."""
        mean, log_variance = split(h[rows])
        return mean + torch.exp(0.5 * log_variance) * torch.randn(mean.shape, dtype=mean.dtype, generator=generator)

    def cost_weight(self, progress: float) -> float:
        return min(1.0, progress / self.warm_up) if self.warm_up else 1.0


def split(h: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and log-variance, each of shape (n_samples, n_components); the clamp keeps exp() finite."""
    mean, log_variance = h.chunk(2, dim=1)
    return mean, log_variance.clamp(-20, 20)

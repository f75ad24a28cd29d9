r"""Latents: what the code of an autoencoder is, and what it costs.

An encoder gives ``h``; a latent turns it into the code ``z`` and adds a cost, one number per
sample, to the reconstruction loss:

.. math:: \text{objective} = \frac1n \sum_i \big[\text{loss}(\text{raw}_i, x_i) + \text{cost}_i\big]

Reconstruction losses are means over the features, in scaled units; compare the weights below with
those. Your own latent derives from `Latent` and overrides what differs from a plain code.
"""

from collections.abc import Callable
from numbers import Integral, Real
from typing import Any

import torch
from sklearn.utils._param_validation import Interval, StrOptions
from torch import Tensor, nn

from sklearn_ae._component import Part

__all__ = ["Contractive", "Ordered", "Quantized", "Sparse", "Variational"]

SMALLEST = 1e-12  # added to variances
FEWEST_ROWS = 8  # that a batch's variance is computed from
START_ROUNDS, START_ROWS = 20, 100  # of k-means, on at most so many rows for each code
DEAD = 0.05  # of the mean share of a code: codes that fewer rows have are drawn anew


class Latent(Part):
    """Base of the latents, and the plain code: what the encoder gives, at no cost.

    Attributes
    ----------
    stochastic : bool
        Whether the code is random with a standard normal prior. Its cost is then weighed against a
        log-likelihood in nats, not against the plain loss, and the code starts with unit variance.
    is_ordered : bool
        Whether the first components of a code are a code too: they can be decoded with zeros for
        the others.
    running_means : tuple of str
        Names of buffers that ``update`` moves; see `LatentModule`.
    """

    slot = "latent"
    stochastic = False
    is_ordered = False
    running_means: tuple[str, ...] = ()
    supports_batched_codes = (
        True  # (n_networks, n_samples, length) too; counts for this very class only, see Stack
    )

    def n_outputs(self, n_components: int) -> int:
        """How many numbers the encoder gives for a code of `n_components`."""
        return n_components

    def build(self, n_components: int):
        """What the network uses as its latent: this object itself, which has no weights.

        A latent with weights of its own, such as a codebook, gives an ``nn.Module`` with the
        attributes and the methods of this class; `LatentModule` is the base for it.

        Parameters
        ----------
        n_components : int
            Length of a code.
        """
        return self

    def start(self, outputs: Callable[[], Tensor]) -> None:
        """Set starting values from data, in place; by default there are none to set.

        Parameters
        ----------
        outputs : callable
            Computes what the encoder, as it starts, gives for some training rows, of shape
            (n_samples, n_outputs), in random order.
        """

    def code(self, h: Tensor, sample: bool) -> Tensor:
        """Turn the encoder's output into a code.

        Parameters
        ----------
        h : Tensor of shape (n_samples, n_outputs)
            The encoder's output.
        sample : bool
            Whether a random code is drawn (training, sampling) or its centre given (everywhere
            else).

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

    def truncate(self, z: Tensor, n_components: int) -> Tensor:
        """What stands for codes (..., n_samples, length) of which the first `n_components` are
        known; for ordered codes only.
        """
        return torch.where(torch.arange(z.shape[-1], device=z.device) < n_components, z, 0)

    def sample_codes(self, h: Tensor, rows: Tensor, generator: torch.Generator) -> Tensor:
        """Draw new codes near those of some rows.

        By default the encoder's outputs are smoothed, see `smoothed`, and turned into codes.

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
        return self.code(smoothed(h, h != 0, rows, generator), sample=False)


def smoothed(h: Tensor, on: Tensor, rows: Tensor, generator: torch.Generator) -> Tensor:
    r"""Draw from a smoothed distribution with the mean and the covariance of `h` (smoothed
    bootstrap [1]_).

    .. math::

        \bar h + (h_i - \bar h + b\,\varepsilon) / \sqrt{1 + b^2},
        \quad \varepsilon \sim N(0, \Sigma)

    with Silverman's bandwidth :math:`b`. The kernel alone would add :math:`b^2 \Sigma` to the
    covariance :math:`\Sigma`.

    Parameters
    ----------
    h : Tensor of shape (n_samples, n_outputs)
    on : Tensor of shape (n_samples, n_outputs), bool
        Entries that are in use. Means and covariances are over these.
    rows : Tensor of shape (n_draws,), integer
        The rows that are drawn.
    generator : torch.Generator

    Returns
    -------
    Tensor of shape (n_draws, n_outputs)
        Zero where the row that was drawn is not `on`.

    References
    ----------
    .. [1] Silverman and Young (1987), "The Bootstrap: To Smooth or Not to Smooth?", Biometrika 74.
    """
    n_on = on.sum(0).clamp_min(1)
    mean = torch.where(on, h, 0).sum(0) / n_on
    centred = torch.where(on, h - mean, 0)
    scaled = centred.double() / n_on.sqrt()
    _, deviations, directions = torch.linalg.svd(scaled, full_matrices=False)
    n, k = len(h), float(on.sum()) / len(h)  # of a row, so many entries vary
    bandwidth = (n * (k + 2) / 4) ** (-1 / (k + 4))
    noise = torch.randn(len(rows), len(deviations), dtype=torch.float64, generator=generator)
    noise = (noise * deviations @ directions).to(h.dtype)
    return torch.where(
        on[rows], mean + (centred[rows] + bandwidth * noise) / (1 + bandwidth**2) ** 0.5, 0
    )


class LatentModule(nn.Module):
    """Base of latents with weights of their own: a module with a latent's methods. By default they
    call those of `latent`.

    Parameters are trained by gradients. What is learnt otherwise, such as a moving average, stands
    in buffers: ``start`` sets them, and ``update`` moves them after each batch of the training.

    Parameters
    ----------
    latent : Latent
        The part with the parameters.

    Attributes
    ----------
    running_means : tuple of str
        Names of buffers that ``update`` moves to means over rows. If there are none, ``update`` is
        not called. In a fit by several processes these buffers are averaged over the rows of all,
        and the others are those of rank 0.

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

    running_means: tuple[str, ...] = ()

    def __init__(self, latent: Latent):
        super().__init__()
        self.latent = latent
        self.stochastic = latent.stochastic
        self.is_ordered = latent.is_ordered

    def start(self, outputs: Callable[[], Tensor]) -> None:
        self.latent.start(outputs)

    def update(self, h: Tensor, weight: Tensor) -> None:
        """Move the buffers of `running_means`, in place.

        Parameters
        ----------
        h : Tensor of shape (n_samples, n_outputs)
            The encoder's output for a batch.
        weight : Tensor of shape (n_samples,)
            How much each row counts; the mean over all rows is about 1. A row of weight 0 was not
            learnt from.
        """

    def code(self, h: Tensor, sample: bool) -> Tensor:
        return self.latent.code(h, sample)

    def cost(self, h: Tensor, x: Tensor, encoder: nn.Module) -> Tensor | None:
        return self.latent.cost(h, x, encoder)

    def cost_weight(self, progress: float) -> float:
        return self.latent.cost_weight(progress)

    def truncate(self, z: Tensor, n_components: int) -> Tensor:
        return self.latent.truncate(z, n_components)

    def sample_codes(self, h: Tensor, rows: Tensor, generator: torch.Generator) -> Tensor:
        return Latent.sample_codes(self, h, rows, generator)  # type: ignore[arg-type]  # it has what that calls


class Sparse(Latent):
    r"""A code most of whose entries are exactly zero.

    Of each row's code only the entries of the largest magnitude are kept, a share `active` of them
    and at least one; the others are zero [1]_. What is kept does not depend on the code's scale,
    nor on other rows. A penalty can be added. ``penalty="l1"`` makes components zero or small in
    most rows and large in few,

    .. math:: \alpha\sum_j \frac{|z_j|}{s_j}

    where :math:`s_j` is the root mean square of the component over the batch: without it a code
    would only shrink, and the decoder grow. ``penalty="kl"`` passes the code through a sigmoid and
    keeps the mean activation :math:`\hat\rho_j` of each component over the batch near a target rate
    [2]_:

    .. math:: \alpha\sum_j \rho\log\frac{\rho}{\hat\rho_j} + (1-\rho)\log\frac{1-\rho}{1-\hat\rho_j}

    Parameters
    ----------
    alpha : float or "auto", default="auto"
        Weight of the penalty, against a loss that is a mean over features. ``"auto"`` is 0 for
        ``"l1"``, which has zeros without it, and 1 for ``"kl"``.
    penalty : {"l1", "kl"}, default="l1"
        Which penalty.
    active : float in (0, 1] or "auto", default="auto"
        Share of a code's entries that are kept; 1 keeps all. ``"auto"`` is 0.25 for ``"l1"`` and 1
        for ``"kl"``.
    target : float in (0, 1), default=0.05
        The target rate of ``"kl"``; ``"l1"`` does not use it.

    References
    ----------
    .. [1] Makhzani and Frey (2014), "k-Sparse Autoencoders", ICLR.
    .. [2] Ng (2011), "Sparse Autoencoder", CS294A lecture notes, Stanford.

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from sklearn_ae import AutoencoderTransformer
    >>> from sklearn_ae.latents import Sparse
    >>> X, _ = load_wine(return_X_y=True)
    >>> Z = AutoencoderTransformer(8, latent=Sparse(active=0.25), random_state=0).fit_transform(X)
    >>> float((Z == 0).mean())
    0.75
    """

    _parameter_constraints = {
        "alpha": [StrOptions({"auto"}), Interval(Real, 0, None, closed="left")],
        "penalty": [StrOptions({"l1", "kl"})],
        "active": [StrOptions({"auto"}), Interval(Real, 0, 1, closed="right")],
        "target": [Interval(Real, 0, 1, closed="neither")],
    }
    AUTO = {"l1": (0.0, 0.25), "kl": (1.0, 1.0)}  # alpha and active of each penalty

    def __init__(
        self,
        alpha: float | str = "auto",
        *,
        penalty: str = "l1",
        active: float | str = "auto",
        target: float = 0.05,
    ):
        self.alpha = alpha
        self.penalty = penalty
        self.active = active
        self.target = target

    def code(self, h: Tensor, sample: bool) -> Tensor:
        z = self._activate(h)
        active: Any = self.AUTO[self.penalty][1] if self.active == "auto" else self.active
        n_kept = max(1, round(active * z.shape[-1]))
        if n_kept == z.shape[-1]:
            return z
        size = z.abs()
        return torch.where(size > size.topk(n_kept + 1, -1).values[..., -1:], z, 0)

    def cost(self, h: Tensor, x: Tensor, encoder: nn.Module) -> Tensor | None:
        alpha: Any = self.AUTO[self.penalty][0] if self.alpha == "auto" else self.alpha
        if not alpha:
            return None
        z = self.code(h, sample=False)
        if self.penalty == "l1":
            return alpha * (z.abs() / (z.square().mean(0) + SMALLEST).sqrt()).sum(1)
        rate = z.mean(0).clamp(1e-6, 1 - 1e-6)
        rho = self.target
        divergence = rho * torch.log(rho / rate) + (1 - rho) * torch.log((1 - rho) / (1 - rate))
        return (alpha * divergence.sum()).expand(len(h))

    def sample_codes(self, h: Tensor, rows: Tensor, generator: torch.Generator) -> Tensor:
        """Draw new values for the entries that some rows keep; the others are zero."""
        on = self.code(h, sample=False) != 0
        return torch.where(on[rows], self._activate(smoothed(h, on, rows, generator)), 0)

    def _activate(self, h: Tensor) -> Tensor:
        return torch.sigmoid(h) if self.penalty == "kl" else h


class Ordered(Latent):
    r"""A code in order of importance: its first components are as good a code as one of that
    length.

    Training cuts each code off after a random number of components, the rest being zero (nested
    dropout [1]_). One fit thus gives a code of every length, and the objective is the mean over
    lengths :math:`k`,

    .. math:: \sum_k p_k \, \text{loss}\big(\text{decoder}(z_1, \dots, z_k, 0, \dots, 0), x\big)

    where :math:`p` gives the full length with probability `full`, and otherwise each length the
    same. Lengths are spread evenly over the rows of a batch. With linear layers alone the
    components are PCA's.

    Parameters
    ----------
    full : float in [0, 1], default=0.0
        How often a code is not cut off for certain. The more often, the better the full length is,
        at the cost of the short ones.

    Notes
    -----
    No length is quite as good as a fit of its own: the best curve through the data is not a
    coordinate of the best surface. Expect errors 1.0 to 1.4 times those of separate fits, or fit
    the length that you choose once more, without `Ordered`.

    References
    ----------
    .. [1] Rippel, Gelbart and Adams (2014), "Learning Ordered Representations with Nested
       Dropout", ICML.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_ae import AutoencoderTransformer
    >>> from sklearn_ae.latents import Ordered
    >>> X, _ = load_iris(return_X_y=True)
    >>> model = AutoencoderTransformer(3, latent=Ordered(), random_state=0).fit(X)
    >>> model.reconstruct(X, n_components=2).shape
    (150, 4)
    >>> model.explained_variance_ratio_.shape
    (3,)
    """

    is_ordered = True
    supports_batched_codes = True
    _parameter_constraints = {"full": [Interval(Real, 0, 1, closed="both")]}

    def __init__(self, full: float = 0.0):
        self.full = full

    def code(self, h: Tensor, sample: bool) -> Tensor:
        if not sample:
            return h
        n, k = h.shape[-2:]
        rows = torch.arange(n, dtype=h.dtype, device=h.device) + torch.rand_like(h[..., :1, 0])
        cut = torch.arange(k, dtype=h.dtype, device=h.device) / k
        # the share of codes that each component is kept in: all for the first, and ever fewer
        kept = 1 - (1 - self.full) * cut
        # the lengths are spread evenly over the rows
        return torch.where((rows / n)[..., None] < kept, h, 0)


class Quantized(Latent):
    r"""A code that is one of `n_codes` vectors: the vector-quantising autoencoder (VQ-VAE).

    The encoder's output :math:`h` is replaced by the nearest vector of a codebook [1]_,

    .. math:: z = e_k, \quad k = \operatorname{arg\,min}_j \lVert h - e_j \rVert

    The loss's gradient with respect to :math:`z` is passed to :math:`h` as it is (straight
    through), and an output that is far from its code vector costs

    .. math:: \frac{\text{commitment}}{d} \, \lVert h - e_k \rVert^2

    where :math:`d` is the number of features, as the loss is a mean over these. The codebook
    follows the encoder by moving averages. Each batch of :math:`n` rows moves them by

    .. math::

        n_k \leftarrow \gamma\, n_k + \frac{1 - \gamma}{n} \sum_i [k_i = k], \qquad
        m_k \leftarrow \gamma\, m_k + \frac{1 - \gamma}{n} \sum_i [k_i = k]\, h_i

    where :math:`\gamma` is the `decay`, and :math:`e_k = m_k / n_k`. It starts at k-means of the
    encoder's outputs. A code vector that hardly any row has, with :math:`n_k` under a twentieth of
    the mean, is replaced by one of the last batch's outputs [2]_.

    ``transform`` gives the code vectors of rows, of which at most `n_codes` are different.
    ``inverse_transform`` decodes any vector as it is, also one between them. ``sample`` decodes
    the code vectors of random training rows, with no noise.

    Parameters
    ----------
    n_codes : int, default=64
        Number of code vectors. In an ensemble, each member has as many of its own.
    commitment : float, default=1.0
        Weight of the cost. The paper's is 0.25; see the notes.
    decay : float in [0, 1), default=0.95
        The share of the moving averages that is kept in each step.

    Notes
    -----
    With a linear decoder of orthonormal columns :math:`V`, as at the start, both gradients of a row
    cancel where :math:`\text{commitment} \cdot (h - e_k) = V^\top (x - \hat x)`. So with
    ``commitment=1`` the start is at rest if it is a linear encoder's. With less, outputs are driven
    apart until those of neighbouring codes mix.

    References
    ----------
    .. [1] van den Oord, Vinyals and Kavukcuoglu (2017), "Neural Discrete Representation Learning",
       NeurIPS. The moving averages are in appendix A.1.
    .. [2] Dhariwal et al. (2020), "Jukebox: A Generative Model for Music", arXiv:2005.00341.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_ae import AutoencoderTransformer
    >>> from sklearn_ae.latents import Quantized
    >>> X, _ = load_iris(return_X_y=True)
    >>> model = AutoencoderTransformer(2, latent=Quantized(n_codes=8), random_state=0).fit(X)
    >>> np.unique(model.transform(X), axis=0).shape
    (8, 2)
    """

    _parameter_constraints = {
        "n_codes": [Interval(Integral, 1, None, closed="left")],
        "commitment": [Interval(Real, 0, None, closed="left")],
        "decay": [Interval(Real, 0, 1, closed="left")],
    }

    def __init__(self, n_codes: int = 64, *, commitment: float = 1.0, decay: float = 0.95):
        self.n_codes = n_codes
        self.commitment = commitment
        self.decay = decay

    def build(self, n_components: int):
        return Quantizer(self, n_components)


class Quantizer(LatentModule):
    """The codebook of `Quantized`; with a first axis more, those of networks side by side."""

    supports_batched_codes = True
    running_means = ("share", "total")
    share: Tensor
    total: Tensor
    drawn: Tensor

    def __init__(self, latent: Quantized, n_components: int):
        super().__init__(latent)
        self.commitment, self.decay = latent.commitment, latent.decay
        K = latent.n_codes
        self.register_buffer("share", torch.full((K,), 1 / K))  # of rows, n_k
        self.register_buffer("total", torch.randn(K, n_components) / K)  # of outputs, m_k
        self.register_buffer("drawn", torch.zeros(K, n_components))  # for codes that die

    @property
    def codes(self) -> Tensor:
        """The code vectors (n_codes, n_components)."""
        return self.total / self.share.clamp_min(SMALLEST)[..., None]

    def quantized(self, h: Tensor) -> Tensor:
        """The nearest code vectors (n_samples, n_components)."""
        codes = self.codes
        return codes.gather(-2, nearest(h.detach(), codes)[..., None].expand(h.shape))

    def code(self, h: Tensor, sample: bool) -> Tensor:
        z = self.quantized(h)
        return z + (h - h.detach()) if sample else z  # gradients go straight through

    def cost(self, h: Tensor, x: Tensor, encoder: nn.Module) -> Tensor:
        distance = (h - self.quantized(h)).square().sum(-1)
        return self.commitment / x.shape[-1] * distance

    @torch.no_grad()
    def start(self, outputs: Callable[[], Tensor]) -> None:
        """k-means, whose rounds are updates that keep nothing."""
        K = self.share.shape[-1]
        h = outputs()[: START_ROWS * K]
        first = h[torch.arange(K, device=h.device) % len(h)]
        self.share.fill_(1 / K)
        self.total.copy_(first / K)
        self.drawn.copy_(first)
        decay, self.decay = self.decay, 0.0
        for _ in range(START_ROUNDS):
            self.update(h, torch.ones_like(h[:, 0]))
        self.decay = decay
        self._replace_dead()

    @torch.no_grad()
    def update(self, h: Tensor, weight: Tensor) -> None:
        self._replace_dead()
        K, n = self.share.shape[-1], h.shape[-2]
        has = nearest(h, self.codes)[..., None] == torch.arange(K, device=h.device)
        has = has * (weight / n)[..., None]  # (n_samples, n_codes)
        self.share.mul_(self.decay).add_((1 - self.decay) * has.sum(-2))
        self.total.mul_(self.decay).add_((1 - self.decay) * (has.mT @ h))
        self.drawn.copy_(drawn_evenly(h, weight, K))

    def _replace_dead(self) -> None:
        """Give codes that hardly any row has another vector, and the least share of one that
        stays.
        """
        least = DEAD * self.share.mean(-1, keepdim=True)
        dead = self.share < least
        self.total.copy_(torch.where(dead[..., None], least[..., None] * self.drawn, self.total))
        self.share.copy_(torch.where(dead, least, self.share))

    def sample_codes(self, h: Tensor, rows: Tensor, generator: torch.Generator) -> Tensor:
        """The code vectors of the rows."""
        return self.code(h[rows], sample=False)


def nearest(h: Tensor, codes: Tensor) -> Tensor:
    """Which of the code vectors (n_codes, n_outputs) is nearest (n_samples,)."""
    products = (codes @ h.to(codes.dtype).mT).mT  # rows as columns: see _layers
    return (codes.square().sum(-1).unsqueeze(-2) - 2 * products).argmin(-1)


def drawn_evenly(h: Tensor, weight: Tensor, n_drawn: int) -> Tensor:
    """Rows (n_drawn, n_outputs) of a batch, spread evenly over its random order, the more often the
    more they weigh (systematic sampling).
    """
    reached = weight.cumsum(-1)
    at = (torch.arange(n_drawn, device=h.device) + 0.5) / n_drawn * reached[..., -1:]
    rows = (reached.unsqueeze(-2) <= at.unsqueeze(-1)).sum(-1).clamp_max(h.shape[-2] - 1)
    return h.gather(-2, rows[..., None].expand(*rows.shape, h.shape[-1]))


class Contractive(Latent):
    r"""A code that moves little when the input does, relative to its variance over the data.

    The cost of a sample is

    .. math:: \alpha\sum_j \frac{\lVert\partial h_j/\partial x\rVert^2}{\operatorname{Var} h_j}

    The variance is that over the batch. Without it, as in [1]_, a code would first of all shrink,
    and the decoder grow. The Jacobian is exact for every encoder that treats rows independently (so
    without batch normalisation). It costs one backward pass per component.
    Batches of fewer than 8 rows say too little about a variance, and cost nothing.

    Parameters
    ----------
    alpha : float, default=1e-3
        Weight of the penalty, against a loss that is a mean over features.

    References
    ----------
    .. [1] Rifai, Vincent, Muller, Glorot and Bengio (2011), "Contractive Auto-Encoders: Explicit
       Invariance During Feature Extraction", ICML.
    """

    _parameter_constraints = {"alpha": [Interval(Real, 0, None, closed="left")]}

    def __init__(self, alpha: float = 1e-3):
        self.alpha = alpha

    def cost(self, h: Tensor, x: Tensor, encoder: nn.Module) -> Tensor:
        if len(h) < FEWEST_ROWS:
            return 0 * h.sum(1)
        with torch.enable_grad():  # validation runs without gradients, and the Jacobian needs them
            gradients = squared_gradient_norms(encoder, x)
        return self.alpha * (gradients / (h.var(0, correction=0) + SMALLEST)).sum(1)


def squared_gradient_norms(function, x: Tensor) -> Tensor:
    """The squared norms of the gradients of a row-wise function's outputs; their sum over a row is
    its Jacobian's (Frobenius).

    Parameters
    ----------
    function : callable
        From a tensor of shape (n_samples, n_features) to one of shape (n_samples, n_outputs), row
        by row.
    x : Tensor of shape (n_samples, n_features)

    Returns
    -------
    Tensor of shape (n_samples, n_outputs)
    """
    h, pull_back = torch.func.vjp(lambda x: function(x.clone()), x)[:2]  # which may work in place
    directions = torch.eye(h.shape[1], dtype=h.dtype, device=h.device)
    # (n_outputs, n_samples, n_features)
    rows = torch.func.vmap(lambda e: pull_back(e.expand_as(h))[0])(directions)
    return rows.square().sum(2).T


class Variational(Latent):
    r"""A random code with a standard normal prior: the variational autoencoder.

    The encoder gives a mean and a log-variance for each component [1]_; training draws
    :math:`z \sim N(\mu, \sigma^2)` and pays

    .. math:: \beta\,\mathrm{KL} = \frac\beta2\sum_j \mu_j^2 + \sigma_j^2 - \log\sigma_j^2 - 1

    against the log-likelihood of the features in nats. For squared and absolute errors the scale of
    the observation noise stands at its optimum for each batch [2]_, so that ``beta=1`` is the
    textbook bound whatever the scale of the data. The posterior mean is used wherever nothing is
    being trained or sampled.

    Parameters
    ----------
    beta : float, default=1.0
        Weight of the divergence; over 1 for more disentangled codes [3]_, under 1 for sharper
        reconstructions.
    warm_up : float in [0, 1], default=0.0
        Over this share of the planned training the weight rises from 0 to `beta`.
    free_bits : float, default=0.0
        Nats a component may spend at no cost, in the batch's mean [4]_; keeps components from being
        switched off.

    References
    ----------
    .. [1] Kingma and Welling (2014), "Auto-Encoding Variational Bayes", ICLR.
    .. [2] Rybkin, Daniilidis and Levine (2021), "Simple and Effective VAE Training with Calibrated
       Decoders", ICML.
    .. [3] Higgins et al. (2017), "beta-VAE", ICLR.
    .. [4] Kingma et al. (2016), "Improved Variational Inference with Inverse Autoregressive
       Flow", NeurIPS.
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
        # (n_samples, n_components)
        divergence = 0.5 * (mean.square() + log_variance.exp() - log_variance - 1)
        if self.free_bits:
            spends = divergence.mean(0, keepdim=True) > self.free_bits
            divergence = torch.where(
                spends, divergence, torch.full_like(divergence, self.free_bits)
            )
        return self.beta * divergence.sum(1)

    def sample_codes(self, h: Tensor, rows: Tensor, generator: torch.Generator) -> Tensor:
        """Draw from the posteriors of the rows, together the code's distribution over the data."""
        mean, log_variance = split(h[rows])
        return mean + torch.exp(0.5 * log_variance) * torch.randn(
            mean.shape, dtype=mean.dtype, generator=generator
        )

    def cost_weight(self, progress: float) -> float:
        return min(1.0, progress / self.warm_up) if self.warm_up else 1.0


def split(h: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and log-variance, each (n_samples, n_components); the clamp keeps exp() finite."""
    mean, log_variance = h.chunk(2, dim=1)
    return mean, log_variance.clamp(-20, 20)

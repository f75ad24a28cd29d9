"""What a fitted autoencoder does: encode, decode, score and draw rows, and go into a file."""

from __future__ import annotations  # so that help() shows the names of types and not what they stand for

from abc import ABCMeta
from collections.abc import Callable
from numbers import Integral

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_array, check_is_fitted, validate_data
from torch import Tensor, nn

from sklearn_ae._data.columns import refuse_columns
from sklearn_ae._data.scaling import Scaling, as_tensor
from sklearn_ae._data.sources import ArraySource, Source, make_source
from sklearn_ae._losses import check_range
from sklearn_ae._network.blueprint import Blueprint
from sklearn_ae._network.inference import apply_in_chunks
from sklearn_ae._torch import PrivateGenerator, find_device, plain_torch
from sklearn_ae._training.net import AutoencoderNet
from sklearn_ae._training.rules import chunk_rows
from sklearn_ae.latents import Latent

DTYPES = (np.float64, np.float32)
ACCEPTED = {"dtype": DTYPES, "ensure_all_finite": "allow-nan", "accept_sparse": "csr"}  # what rows may be


class FittedAutoencoder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator, metaclass=ABCMeta):
    """An estimator with a trained network ``net_``, built from ``_blueprint``, on rows scaled by ``_scaling``."""

    _blueprint: Blueprint
    _scaling: Scaling
    net_: AutoencoderNet

    # Rows through the network

    def transform(self, X: ArrayLike) -> np.ndarray:
        """Encode rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        Z : ndarray of shape (n_samples, n_components)
            The codes, in X's precision. Nothing random: a variational code is its posterior mean.
        """
        X = self._check(X)
        return self._apply(self.net_.module_.encode, make_source(X)).astype(X.dtype, copy=False)

    def inverse_transform(self, Z: ArrayLike) -> np.ndarray:
        """Decode codes.

        Parameters
        ----------
        Z : array-like of shape (n_samples, n_components)

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
            Reconstructions in the data's own units (probabilities for binary cross-entropy).
        """
        check_is_fitted(self)
        codes = check_array(Z, dtype=DTYPES, input_name="Z")
        if codes.shape[1] != self._n_features_out:
            raise ValueError(f"Z has {codes.shape[1]} columns, but codes have {self._n_features_out}.")
        module = self.net_.module_
        X = self._apply(lambda z: self._scaling.inverse(module.decode(z)), ArraySource(codes), scaling=Scaling())
        return X.astype(codes.dtype, copy=False)

    def reconstruct(self, X: ArrayLike, n_components: int | None = None) -> np.ndarray:
        """Encode and decode rows: their denoised, compressed selves.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        n_components : int or None, default=None
            Use the first components of the code only, as many; the latent must be `Ordered`. None uses all.

        Returns
        -------
        X_reconstructed : ndarray of shape (n_samples, n_features)
            In the data's own units.

        Raises
        ------
        ValueError
            If the code is not ordered, or has not as many components.
        """
        X = self._check(X)
        module, k = self.net_.module_, self._check_length(n_components)
        shorten = (lambda z: z) if k is None else (lambda z: module.truncate(z, k))
        R = self._apply(lambda *x: self._scaling.inverse(module.decode(shorten(module.encode(*x)))), make_source(X))
        return R.astype(X.dtype, copy=False)

    def _check_length(self, n_components: int | None) -> int | None:
        """Check that codes can be cut off after as many components."""
        latent, most = self._blueprint.latent, self.n_components_
        if n_components is None:
            return None
        if not latent.is_ordered:
            raise ValueError(
                f"n_components={n_components!r} needs a code in order of importance; pass latent=Ordered() to the estimator "
                f"and fit it again. Its latent is {'a plain code' if type(latent) is Latent else latent}."
            )
        if not isinstance(n_components, Integral) or not 1 <= n_components <= most:
            raise ValueError(f"n_components must be a whole number from 1 to {most}, the length of the code, got {n_components!r}.")
        return int(n_components)

    def reconstruction_errors(self, X: ArrayLike) -> np.ndarray:
        """The loss of each entry; for a single autoencoder, the mean over a row is minus its score.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        errors : ndarray of shape (n_samples, n_features), float64
            In units of the loss, on scaled data.
        """
        X = self._check(X, scored=True)
        return self._apply(self.net_.module_.elements, make_source(X)).astype(np.float64)

    def score_samples(self, X: ArrayLike) -> np.ndarray:
        """Minus the reconstruction loss of each row: higher is more normal.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        scores : ndarray of shape (n_samples,), float64
        """
        X = self._check(X, scored=True)
        return self._score_rows(make_source(X))

    def _score_rows(self, source: Source) -> np.ndarray:
        return np.negative(self._apply(self.net_.module_.losses, source), dtype=np.float64)

    def score(self, X: ArrayLike, y: object = None) -> float:
        """The mean of `score_samples`, so that a search needs no labels.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : None
            Ignored.

        Returns
        -------
        score : float
        """
        return float(np.mean(self.score_samples(X)))

    def sample(self, n_samples: int = 1, random_state: int | np.random.RandomState | None = None) -> np.ndarray:
        """Draw new rows.

        A random training row's code (of at most 1,000 that are kept) is drawn from its posterior if the latent is variational,
        else moved by a normal kernel of Silverman's bandwidth, and decoded. Drawing from the codes that really occur, and not
        from the prior, leaves out the regions between them, where the decoder is unreliable.

        Parameters
        ----------
        n_samples : int, default=1
            How many rows to draw.
        random_state : int, RandomState instance or None, default=None
            None takes the estimator's own ``random_state``.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features), float64
            In the data's own units.
        """
        check_is_fitted(self)
        if not isinstance(n_samples, Integral) or n_samples < 1:
            raise ValueError(f"n_samples must be a whole number of at least 1, got {n_samples!r}.")
        random_state = check_random_state(self.random_state if random_state is None else random_state)
        rows = torch.from_numpy(random_state.randint(len(self._codes), size=n_samples))
        generator = torch.Generator().manual_seed(int(random_state.randint(np.iinfo(np.int32).max)))
        with plain_torch(), torch.inference_mode():
            Z = self.net_.module_.sample_codes(as_tensor(self._codes), rows, generator).double().numpy()
        return self.inverse_transform(Z)

    @property
    def n_components_(self) -> int:
        check_is_fitted(self)
        return self._blueprint.n_components - self._blueprint.n_unused

    @property
    def _n_features_out(self) -> int:
        return self._blueprint.n_features_out

    def _check(self, X, scored: bool = False) -> np.ndarray:
        check_is_fitted(self)
        refuse_columns(X)
        X = validate_data(self, X, reset=False, **ACCEPTED)
        if scored:
            check_range(self.net_.module_.loss, self._blueprint.loss, make_source(X))
        return X

    def _apply(self, function: Callable[[Tensor], Tensor], source: Source, scaling: Scaling | None = None) -> np.ndarray:
        """Map rows through the network, nothing random."""
        scaling = self._scaling if scaling is None else scaling
        foreign = not self._blueprint.architecture.accepts_strided_input
        return apply_in_chunks(function, source, scaling, torch.device(self.net_.device), self._chunk_rows(), foreign)

    def _chunk_rows(self) -> int:
        """Rows of a chunk: the same for a fitted model whatever it is asked."""
        n_parameters = sum(p.numel() for p in self.net_.module_.parameters())
        return chunk_rows(self._blueprint.n_values, n_parameters)

    # Pickling: numpy arrays and plain values, the network built again on load

    def __getstate__(self):
        state = super().__getstate__().copy()
        net = state.pop("net_", None)
        if net is not None:
            state["_weights"] = {name: tensor.cpu().numpy() for name, tensor in net.module_.state_dict().items()}
        return state

    def __setstate__(self, state):
        state = state.copy()
        weights = state.pop("_weights", None)
        super().__setstate__(state)
        if weights is not None:
            self._rebuild(weights)

    def _rebuild(self, weights: dict[str, np.ndarray]) -> None:
        with plain_torch(), PrivateGenerator():
            module = self._blueprint.build()
        module.load_state_dict({name: torch.tensor(array) for name, array in weights.items()})
        device = find_device(self.device, missing="cpu")
        net = AutoencoderNet(module.eval(), criterion=nn.Identity, device=device, train_split=None, verbose=0)
        net.initialize()
        self.net_ = net

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "net_")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        tags.input_tags.allow_nan = True
        tags.input_tags.sparse = True
        return tags

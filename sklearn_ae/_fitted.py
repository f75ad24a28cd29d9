"""What a fitted autoencoder does: encode, decode, score and draw rows, and go into a file."""

from __future__ import annotations  # so that help() shows the names of types and not what they stand for

from abc import ABCMeta
from collections.abc import Callable
from numbers import Integral
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.metadata_routing import UNUSED
from sklearn.utils.validation import _check_sample_weight, check_is_fitted
from torch import Tensor, nn

from sklearn_ae._component import DOCUMENTATION
from sklearn_ae._data.inputs import as_source, codes_source
from sklearn_ae._data.scaling import Scaling, as_tensor
from sklearn_ae._data.sources import Source
from sklearn_ae._losses import check_range
from sklearn_ae._network.blueprint import Blueprint
from sklearn_ae._network.inference import apply_in_chunks
from sklearn_ae._torch import PrivateGenerator, find_device, plain_torch
from sklearn_ae._training.net import AutoencoderNet
from sklearn_ae._training.rules import chunk_rows
from sklearn_ae._training.state import as_tensors
from sklearn_ae.latents import Latent


class FittedAutoencoder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator, metaclass=ABCMeta):
    """An estimator with a trained network ``net_``, built from ``_blueprint``, on rows scaled by ``_scaling``."""

    __metadata_request__inverse_transform = {"Z": UNUSED}  # codes are no metadata
    _doc_link_module = "sklearn_ae"
    _doc_link_template = DOCUMENTATION

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
        source = self._check(X)
        return source.result(self._apply(self.net_.module_.encode, source).astype(source.dtype, copy=False))

    def inverse_transform(self, Z: ArrayLike) -> np.ndarray:
        """Decode codes.

        Parameters
        ----------
        Z : array-like of shape (n_samples, n_components)

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
            Reconstructions in the data's own units (probabilities for binary cross-entropy).

        Raises
        ------
        ValueError
            If the decoder gives NaN or infinity for a code.
        """
        check_is_fitted(self)
        source, module = codes_source(Z, self._n_features_out), self.net_.module_
        X = self._apply(lambda z: self._scaling.inverse(module.decode(z)), source, scaling=Scaling())
        check_decoded(X, source)
        return source.result(within_type(X, source.dtype))

    def reconstruct(self, X: ArrayLike, n_components: int | None = None) -> np.ndarray:
        """Encode and decode rows: their denoised, compressed selves.

        ``np.where(np.isnan(X), model.reconstruct(X), X)`` fills in what is missing, if the estimator was fitted on rows with gaps.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            NaN stands for a missing value.
        n_components : int or None, default=None
            Use the first components of the code only, as many; the latent must be `Ordered`. None uses all.

        Returns
        -------
        X_reconstructed : ndarray of shape (n_samples, n_features)
            In the data's own units, nothing missing. Where a value of X is missing, this is what the others make likely.

        Raises
        ------
        ValueError
            If the code is not ordered, or has not as many components.
        """
        source, module, k = self._check(X), self.net_.module_, self._check_length(n_components)

        def restored(x: Tensor, mask: Tensor | None = None) -> Tensor:
            return self._scaling.inverse(module.restore(x, mask, k))

        return source.result(within_type(self._apply(restored, source), source.dtype))

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
        source = self._check(X, scored=True)
        return source.result(self._apply(self.net_.module_.elements, source).astype(np.float64))

    def score_samples(self, X: ArrayLike) -> np.ndarray:
        """Minus the reconstruction loss of each row: higher is more normal.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        scores : ndarray of shape (n_samples,), float64
        """
        source = self._check(X, scored=True)
        return source.result(self._score_rows(source))

    def _score_rows(self, source: Source) -> np.ndarray:
        return np.negative(self._apply(self.net_.module_.losses, source), dtype=np.float64)

    def score(self, X: ArrayLike, y: object = None, sample_weight: ArrayLike | None = None) -> float:
        """The mean of `score_samples`, so that a search needs no labels.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : None
            Ignored.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weights of the rows.

        Returns
        -------
        score : float
        """
        scores, weights = np.asarray(self.score_samples(X)), None
        if sample_weight is not None:
            weights = _check_sample_weight(sample_weight, scores, dtype=np.float64, ensure_non_negative=True)
        return float(np.average(scores, weights=weights))

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
        rows, seed = random_state.randint(len(self._codes), size=n_samples), random_state.randint(np.iinfo(np.int32).max)
        with plain_torch(), torch.inference_mode():
            generator = torch.Generator().manual_seed(int(seed))
            codes = as_tensor(self._codes).to(torch.float32, copy=True)  # a latent may work in place
            Z = self.net_.module_.sample_codes(codes, torch.from_numpy(rows), generator).double().numpy()
        return self.inverse_transform(Z)

    @property
    def n_components_(self) -> int:
        check_is_fitted(self)
        return self._blueprint.n_components - self._blueprint.n_unused

    @property
    def _n_features_out(self) -> int:
        return self._blueprint.n_features_out

    def _check(self, X: Any, scored: bool = False) -> Source:
        check_is_fitted(self)
        source = as_source(self, X)
        if scored:
            check_range(self.net_.module_.loss, self._blueprint.loss, source)
        return source

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

    @plain_torch()
    def __getstate__(self):
        state = super().__getstate__().copy()
        net = state.pop("net_", None)
        if net is not None:
            state["_weights"] = {name: tensor.cpu().numpy() for name, tensor in net.module_.state_dict().items()}
            if (training := net.stream_state()) is not None:
                state["_training"] = training
        return state

    @plain_torch()
    def __setstate__(self, state):
        state = state.copy()
        weights, training = state.pop("_weights", None), state.pop("_training", None)
        super().__setstate__(state)
        if weights is not None:
            self._rebuild(weights)
            self.net_.resume_from = as_tensors(training)

    def _rebuild(self, weights: dict[str, np.ndarray]) -> None:
        with plain_torch():
            with PrivateGenerator():
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


def within_type(X: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """X in a precision whose largest numbers stand for those beyond them."""
    if X.dtype == dtype:
        return X
    most = np.finfo(dtype).max
    return X.clip(-most, most).astype(dtype)


def check_decoded(X: np.ndarray, codes: Source) -> None:
    """Raise ValueError if codes were decoded to NaN or infinity."""
    bad = np.flatnonzero(~np.isfinite(X).all(axis=1))
    if len(bad):
        largest = float(codes.take(slice(bad[0], bad[0] + 1)).x.abs().max())
        raise ValueError(
            f"The decoder gives values that are not finite for Z[{bad[0]}], whose largest value is {largest:g}. Codes must be near "
            "those that transform gives."
        )

"""What a fitted estimator is: a configuration, a scaling and a score with its network. It needs no
estimator.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.random import RandomState
from torch import Tensor

from sklearn_ae import _defaults
from sklearn_ae._configuration import Configuration
from sklearn_ae._data.scaling import Scaling, as_tensor
from sklearn_ae._data.sources import Scaled, Source
from sklearn_ae._losses import check_range
from sklearn_ae._network.inference import apply_in_chunks
from sklearn_ae._scores import SCORES
from sklearn_ae._torch import PrivateGenerator, find_device, plain_torch


class Model:
    """A network with its scaling and its score: all that public methods answer with.

    Sources of rows are in the data's own units; so are the results, which are float64 arrays or of
    the network's float32.

    Parameters
    ----------
    scaling : Scaling
    score : Single
        The score, which holds the configuration and the network.
    codes : ndarray of shape (n_codes, ...) or None
        What the encoder gives for some training rows, for `sample`.
    """

    def __init__(self, scaling: Scaling, score: Any, codes: np.ndarray | None = None):
        self.scaling, self.score, self.codes = scaling, score, codes

    @property
    def configuration(self) -> Configuration:
        return self.score.configuration

    @property
    def network(self) -> Any:
        return self.score.network

    @property
    def n_features_out(self) -> int:
        return self.score.n_features_out

    @property
    def device(self) -> torch.device:
        return next(self.score.parameters()).device

    # Rows through the network

    def encode(self, source: Source) -> np.ndarray:
        """Codes (n_samples, n_features_out)."""
        return self._apply(self.network.encode, source)

    def decode(self, codes: Source) -> np.ndarray:
        """Rows (n_samples, n_features) in the data's own units.

        Raises
        ------
        ValueError
            If the decoder gives NaN or infinity for a code.
        """
        X = self._apply(lambda z: self.scaling.inverse(self.network.decode(z)), codes, Scaling())
        check_decoded(X, codes)
        return X

    def reconstruct(self, source: Source, n_components: int | None = None) -> np.ndarray:
        """Rows (n_samples, n_features) in the data's own units; from the first components of an
        ordered code.
        """

        def reconstructed(x: Tensor, mask: Tensor | None = None) -> Tensor:
            return self.scaling.inverse(self.network.reconstruct(x, mask, n_components))

        return self._apply(reconstructed, source)

    def elementwise(self, source: Source) -> np.ndarray:
        """The loss of each entry (n_samples, n_features), in units of the loss; NaN where it is
        missing.
        """
        self.check_range(source)
        return self._apply(self.network.elementwise, source)

    def outlyingness(self, source: Source) -> np.ndarray:
        """How far each row lies from what is usual (n_samples,)."""
        self.check_range(source)
        return self._apply(self.score.outlyingness, source)

    def contributions(self, source: Source) -> np.ndarray:
        """The part of each feature in it (n_samples, n_features)."""
        self.check_range(source)
        return self._apply(self.score.contributions, source)

    def sample(self, n_samples: int, random_state: RandomState) -> np.ndarray:
        """New rows (n_samples, n_features) in the data's own units."""
        assert self.codes is not None
        rows, seed = (
            random_state.randint(len(self.codes), size=n_samples),
            random_state.randint(np.iinfo(np.int32).max),
        )
        with plain_torch(), torch.inference_mode():
            score = self.score if self.device.type == "cpu" else copy.deepcopy(self.score).to("cpu")
            generator = torch.Generator().manual_seed(int(seed))
            codes = as_tensor(self.codes).to(torch.float32, copy=True)  # a latent may work in place
            drawn = score.sample(codes, torch.from_numpy(rows), generator)
            return self.scaling.inverse(drawn.clamp(*self.network.loss.range)).numpy()

    def check_range(self, source: Source) -> None:
        check_range(self.network.loss, self.configuration.loss, source)

    def _apply(
        self, function: Callable[..., Tensor], source: Source, scaling: Scaling | None = None
    ) -> np.ndarray:
        """Map rows through the network, nothing random. A row's result does not depend on the rows
        beside it.
        """
        n_parameters = sum(p.numel() for p in self.score.parameters())
        n_rows = _defaults.chunk_rows(self.score.n_values, n_parameters)
        foreign = not self.configuration.architecture.accepts_strided_input
        return apply_in_chunks(
            function, source, scaling or self.scaling, self.device, n_rows, foreign
        )

    # What is kept of training

    def drop_components(self, n_unused: int) -> None:
        """Leave the last components of ordered codes unused."""
        self.score.configuration = replace(self.configuration, n_unused=n_unused)
        self.network.n_unused = n_unused

    def keep_codes(self, rows: Scaled) -> None:
        """Keep what the encoder gives for some scaled rows, for `sample`."""
        n_codes = self.score.n_codes
        with torch.inference_mode():
            some = torch.randperm(rows.n_rows, generator=torch.Generator().manual_seed(0))[:n_codes]
            if rows.weight is not None:
                some = torch.from_numpy(rows.representative(n_codes, RandomState(0)))
            batch = rows.take(some)
            self.codes = halved(self.network.encoder_output(batch.x, batch.mask).cpu().numpy())

    # As arrays and plain values

    def state(self) -> dict:
        """Arrays and plain values, from which ``from_state`` makes an equal model."""
        weights = {name: tensor.cpu().numpy() for name, tensor in self.score.state_dict().items()}
        return {
            "configuration": self.configuration,
            "scaling": self.scaling,
            "codes": self.codes,
            "weights": weights,
        }

    @classmethod
    def from_state(cls, state: dict, device: str | torch.device = "cpu") -> Model:
        """The model whose ``state`` this is, on a device, or on the CPU if that is not there."""
        configuration: Configuration = state["configuration"]
        with plain_torch():
            with PrivateGenerator():
                score = SCORES[configuration.score](configuration, checked=True)
            score.load_state_dict(
                {name: torch.tensor(array) for name, array in state["weights"].items()}
            )
            score.eval().to(find_device(device, missing="cpu"))
        return cls(state["scaling"], score, state["codes"])


def check_decoded(X: np.ndarray, codes: Source) -> None:
    """Raise ValueError if codes were decoded to NaN or infinity."""
    bad = np.flatnonzero(~np.isfinite(X).all(axis=1))
    if len(bad):
        largest = float(codes.take(slice(bad[0], bad[0] + 1)).x.abs().max())
        raise ValueError(
            f"The decoder gives values that are not finite for Z[{bad[0]}], whose largest value is "
            f"{largest:g}. Codes must be near those that transform gives."
        )


def halved(codes: np.ndarray) -> np.ndarray:
    """Codes (n_rows, ...) in half precision, where that changes none by more than a hundredth of
    its component's deviation.
    """
    with np.errstate(over="ignore"):
        half = codes.astype(np.float16)
    deviation = codes.std(axis=0)
    # components that hardly vary need not be exact
    allowed = _defaults.HALF_ENOUGH * np.maximum(deviation, 0.1 * deviation.mean())
    return half if (np.abs(half - codes) <= allowed).all() else np.ascontiguousarray(codes)

"""What a row scores depends on nothing but the row: not on threads, nor on where weights lie in
memory.
"""

import time

import numpy as np
import pytest
import torch

from sklearn_ae import AutoencoderOutlierDetector, AutoencoderTransformer, _defaults
from sklearn_ae._network.inference import share
from sklearn_ae._training.optimizers import Adam
from sklearn_ae.architectures import Convolutional, Custom, Dense
from sklearn_ae.latents import Variational
from tests.helpers import QUICK, Decoder, Encoder

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
FLAT = {
    "architecture": Convolutional((1, 9), channels=(2,), linear_path=False),
    "latent": Variational(),
}


@pytest.mark.parametrize(
    "model",
    [
        AutoencoderTransformer(2, **QUICK),
        AutoencoderTransformer(2, architecture=Custom(Encoder, Decoder), **QUICK),
        AutoencoderOutlierDetector(n_estimators=5, random_state=0),
        AutoencoderOutlierDetector(n_estimators=1, **QUICK),
    ],
    ids=["dense", "custom", "ensemble", "single"],
)
def test_threads_change_no_score(model, table, rng):
    model.fit(table)
    X = table[rng.integers(len(table), size=30_000)]
    assert len(X) > 4 * _defaults.CHUNK_ROWS[1]
    one = model.score_samples(X)
    torch.set_num_threads(2)
    try:
        for _ in range(2):
            np.testing.assert_array_equal(model.score_samples(X), one)
    finally:
        torch.set_num_threads(1)


def test_every_item_is_worked_on_once():
    done = []
    share(lambda items: [done.append(item) for item in items], range(1_000), 2)
    assert sorted(done) == list(range(1_000))


def test_an_error_in_one_thread_ends_all():
    done = []

    def work(items):
        for item in items:
            if item == 10:
                raise ValueError("bad item")
            time.sleep(1e-4)
            done.append(item)

    with pytest.raises(ValueError, match="bad item"):
        share(work, range(100_000), 2)
    assert len(done) < 1_000


@pytest.mark.slow
@pytest.mark.parametrize(
    "slots",
    [{"architecture": Custom(Encoder, Decoder)}, {"architecture": Dense((8,))}, FLAT],
    ids=str,
)
def test_a_rows_result_does_not_depend_on_where_it_stands(slots, rng):
    X = rng.normal(size=(9_000, 9))
    model = AutoencoderTransformer(2, **slots, random_state=0).fit(X[:100])
    order = rng.permutation(len(X))
    for method in (model.transform, model.score_samples):
        np.testing.assert_array_equal(method(X[order]), method(X)[order])


def test_parameters_of_the_flat_optimizer_are_aligned():
    parameters = [torch.nn.Parameter(torch.full((n,), float(n))) for n in (3, 17, 16, 1)]
    Adam(parameters)
    for p, n in zip(parameters, (3, 17, 16, 1), strict=True):
        assert p.data_ptr() % 64 == p.grad.data_ptr() % 64 == 0
        assert torch.equal(p.data, torch.full((n,), float(n)))

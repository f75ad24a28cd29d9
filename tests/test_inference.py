"""What a row scores depends on nothing but the row: not on threads, nor on where weights lie in memory."""

import numpy as np
import pytest
import torch

from sklearn_ae import AutoencoderOutlierDetector, AutoencoderTransformer
from sklearn_ae._inference import share
from sklearn_ae._optim import Adam
from sklearn_ae.architectures import Custom
from tests.helpers import QUICK, Decoder, Encoder


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
    assert len(X) > 4 * model._chunk_rows()
    one = model.score_samples(X)
    torch.set_num_threads(2)
    try:
        for _ in range(5):
            np.testing.assert_array_equal(model.score_samples(X), one)
    finally:
        torch.set_num_threads(1)


def test_every_item_is_worked_on_once():
    done = []
    share(lambda items: [done.append(item) for item in items], range(1_000), 2)
    assert sorted(done) == list(range(1_000))


@pytest.mark.parametrize("failing", [0, 500])
def test_an_error_in_one_thread_ends_all(failing):
    done = []

    def work(items):
        for item in items:
            if item >= failing:
                raise ValueError("bad item")
            done.append(item)

    with pytest.raises(ValueError, match="bad item"):
        share(work, range(1_000_000), 2)
    assert len(done) <= failing


def test_parameters_of_the_flat_optimizer_are_aligned():
    parameters = [torch.nn.Parameter(torch.full((n,), float(n))) for n in (3, 17, 16, 1)]
    Adam(parameters)
    for p, n in zip(parameters, (3, 17, 16, 1), strict=True):
        assert p.data_ptr() % 64 == p.grad.data_ptr() % 64 == 0
        assert torch.equal(p.data, torch.full((n,), float(n)))

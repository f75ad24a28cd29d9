"""Memory: what happens when it runs out, and that fits give theirs back."""

import gc
import weakref

import numpy as np
import pytest
import torch
from sklearn.base import clone

from sklearn_ae import AutoencoderOutlierDetector, AutoencoderTransformer
from tests.helpers import QUICK

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


class NeedsMuch(torch.nn.Module):
    """A loss that asks for memory in training, in one of several ways."""

    def __init__(self, ask):
        super().__init__()
        self.ask = ask

    def forward(self, raw, x):
        if raw.requires_grad:
            self.ask()
        return (raw - x).square()


def of_torch():
    torch.empty(2**50)


def of_numpy():
    np.empty(2**50)


def of_a_gpu():
    raise torch.OutOfMemoryError("CUDA out of memory.")


@pytest.mark.parametrize("ask", [of_torch, of_numpy, of_a_gpu])
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize(
    "estimator",
    [
        AutoencoderTransformer(2, batch_size=50, **QUICK),
        AutoencoderOutlierDetector(2, n_estimators=2, batch_size=50, **QUICK),
    ],
    ids=["transformer", "detector"],
)
def test_out_of_memory_names_a_smaller_batch(estimator, method, ask, table):
    fitted = clone(estimator).fit(table)
    before = fitted.transform(table)
    model = clone(estimator).set_params(loss=NeedsMuch(ask))
    with pytest.raises(MemoryError, match=r"batch_size=50 on device 'cpu'; use batch_size=25 "):
        getattr(model, method)(table)
    assert not hasattr(model, "net_")
    fitted.set_params(loss=NeedsMuch(ask))
    with pytest.raises(MemoryError):
        fitted.fit(table)
    np.testing.assert_array_equal(fitted.transform(table), before)


def test_the_size_that_is_named_is_that_of_the_rows(table):
    model = AutoencoderTransformer(2, batch_size=10**9, loss=NeedsMuch(of_torch), **QUICK)
    with pytest.raises(MemoryError, match=r"batch_size=\d{2,3} on .* use batch_size=\d{2} or less"):
        model.fit(table)
    model.set_params(batch_size=1)
    with pytest.raises(MemoryError, match="batch_size=1 on .* use a smaller network"):
        model.fit(table)


def test_other_errors_in_training_stay_what_they_are(table):
    def fail():
        raise RuntimeError("something else")

    with pytest.raises(RuntimeError, match="^something else$"):
        AutoencoderTransformer(2, loss=NeedsMuch(fail), **QUICK).fit(table)


ESTIMATORS = [
    AutoencoderTransformer(2, **QUICK),
    AutoencoderTransformer(2, batch_size=30, optimizer="sgd", **QUICK),
    AutoencoderOutlierDetector(2, n_estimators=4, **QUICK),
    AutoencoderOutlierDetector(2, novelty=True, **QUICK),
]


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_rows_are_given_back_with_the_estimator(estimator, table):
    X = table.copy()
    rows = weakref.ref(X)
    gc.collect()
    gc.disable()  # which comes so rarely that large tables would pile up
    try:
        model = clone(estimator).fit(X)
        del X, model
        assert rows() is None
    finally:
        gc.enable()


@pytest.mark.slow
@pytest.mark.parametrize(
    "estimator", [ESTIMATORS[0], *ESTIMATORS[2:]], ids=["transformer", "ensemble", "novelty"]
)
def test_a_hundred_fits_need_no_more_memory_than_thirty(estimator):
    process = pytest.importorskip("psutil").Process()
    X = np.random.default_rng(0).normal(size=(1_500, 40))
    megabytes = []
    for i in range(100):
        clone(estimator).fit(X).transform(X)
        if i >= 29:
            megabytes.append(process.memory_info().rss / 2**20)
    # a copy of the table kept by each fit would be 24 MB
    assert np.mean(megabytes[-20:]) - np.mean(megabytes[:20]) < 12

"""Tensors as X: arrays in, arrays out, or tensors out where scikit-learn is told to dispatch."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from sklearn_ae import AutoencoderOutlierDetector, AutoencoderTransformer
from sklearn_ae._data.sources import ArraySource, TensorSource
from tests.helpers import QUICK

DISPATCHED = """
import numpy as np, sklearn, torch
from sklearn_ae import AutoencoderOutlierDetector, AutoencoderTransformer
from sklearn_ae._data.inputs import as_source

sklearn.set_config(array_api_dispatch=True)
X = np.random.default_rng(0).normal(size=(60, 5)) @ np.random.default_rng(1).normal(size=(5, 5))
quick = {"max_epochs": 3, "random_state": 0, "n_iter_no_change": None}
for dtype in (torch.float32, torch.float64):
    T = torch.tensor(X, dtype=dtype)
    source = as_source(AutoencoderTransformer(), T, reset=True)
    assert source.data.data_ptr() == T.data_ptr()  # no copy
    model = AutoencoderTransformer(2, **quick).fit(T)
    Z = model.transform(T)
    for result in (Z, model.inverse_transform(Z), model.reconstruct(T)):
        assert isinstance(result, torch.Tensor) and result.dtype == dtype, result
        assert result.device == T.device, result
    assert isinstance(model.score_samples(T), torch.Tensor)
    assert isinstance(model.score(T), float)
    with sklearn.config_context(array_api_dispatch=False):
        plain = AutoencoderTransformer(2, **quick).fit(T.numpy()).transform(T.numpy())
    assert np.array_equal(plain, Z.numpy())
    detector = AutoencoderOutlierDetector(n_estimators=3, random_state=0).fit(T)
    for method in ("predict", "p_values", "decision_function", "score_samples"):
        assert isinstance(getattr(detector, method)(T), torch.Tensor), method
    assert isinstance(detector.feature_contributions(T), torch.Tensor)
    assert set(detector.predict(T).tolist()) <= {-1, 1}
    streamed = AutoencoderTransformer(2, random_state=0).partial_fit(T)
    assert isinstance(streamed.transform(T), torch.Tensor)
    assert isinstance(detector.partial_fit(T).predict(T), torch.Tensor)
    G = T.clone(); G[0, 0] = torch.nan
    assert bool(torch.isfinite(AutoencoderTransformer(2, **quick).fit(G).reconstruct(G)).all())
    weighted = AutoencoderTransformer(2, **quick).fit_transform(T, sample_weight=torch.ones(60))
    assert isinstance(weighted, torch.Tensor)
print("done")
"""


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64, torch.bool])
def test_without_the_setting_a_tensor_is_an_array(dtype, table):
    T = torch.tensor(table).to(dtype)
    model = AutoencoderTransformer(1, **QUICK)
    ours, arrays = model.fit_transform(T), model.fit_transform(T.numpy())
    assert isinstance(ours, np.ndarray)
    np.testing.assert_array_equal(ours, arrays)


def test_a_tensor_with_a_gradient_is_an_array_too(table):
    T = torch.tensor(table, requires_grad=True)
    assert AutoencoderOutlierDetector(n_estimators=3, random_state=0).fit(T).predict(T).shape == (
        120,
    )


@pytest.mark.slow
def test_with_the_setting_results_are_tensors_like_x():
    pytest.importorskip(
        "sklearn.externals.array_api_compat",
        reason="older ones of scikit-learn need another package for it",
    )
    environment = {**os.environ, "SCIPY_ARRAY_API": "1", "PYTHONWARNINGS": "ignore"}
    process = subprocess.run(
        [sys.executable, "-c", DISPATCHED], capture_output=True, text=True, env=environment
    )
    assert process.stdout.endswith("done\n"), process.stderr


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_source_of_a_tensor_is_that_of_its_array(dtype, table):
    T = torch.tensor(table, dtype=dtype)
    source, array = TensorSource(T), ArraySource(T.numpy())
    assert source.dtype == array.dtype
    positions = torch.tensor([5, 0, 5])
    assert torch.equal(source.take(positions).x, array.take(positions).x)
    part = source.subset(np.array([7, 3]))
    assert torch.equal(part.take(slice(None)).x, T[[7, 3]])
    assert part.data.data_ptr() == T.data_ptr()
    assert source.range() == array.range()
    result = source.result(np.zeros(3, np.float32))
    assert isinstance(result, torch.Tensor)
    assert result.dtype == torch.float32


def test_bfloat16_is_read_as_float32(table):
    X = torch.tensor(table).bfloat16()
    Z = AutoencoderTransformer(2, **QUICK).fit_transform(X)
    np.testing.assert_array_equal(
        Z, AutoencoderTransformer(2, **QUICK).fit_transform(X.float().numpy())
    )

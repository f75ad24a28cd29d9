"""Compiled steps: the same numbers, and a way back where nothing compiles."""

import shutil

import numpy as np
import pytest
import torch

from sklearn_ae import AutoencoderTransformer
from sklearn_ae.architectures import Dense
from tests.helpers import QUICK


def test_without_a_compiler_training_goes_on_with_one_warning(table, monkeypatch):
    def no_compiler(function):
        def fail(x):
            raise RuntimeError("no compiler here")

        return fail

    monkeypatch.setattr(torch, "compile", no_compiler)
    model = AutoencoderTransformer(2, compile=True, learning_rate_schedule="one_cycle", max_epochs=20, random_state=0)
    with pytest.warns(
        RuntimeWarning, match=r"compile=True has no effect: torch.compile failed here \(no compiler here\)"
    ) as caught:
        model.fit(table)
    assert len([w for w in caught if w.category is RuntimeWarning]) == 1
    np.testing.assert_array_equal(model.loss_curve_, model.set_params(compile=False).fit(table).loss_curve_)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="no compiler")
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::sklearn.exceptions.ConvergenceWarning")
def test_compiled_training_gives_the_same_numbers(table):
    parts = {"architecture": Dense((8,), linear_path=False), "early_stopping": False}  # nothing random within the network
    eager, fast = (AutoencoderTransformer(2, compile=c, **parts, **QUICK).fit(table).loss_curve_ for c in (False, True))
    np.testing.assert_allclose(fast, eager, rtol=1e-3)

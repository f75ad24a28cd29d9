"""
How many codes
==============

The reconstruction error falls with every code that is added. Where it stops falling for rows
that the model has not seen is the number of codes that the data call for.
"""

import matplotlib.pyplot as plt
import numpy as np

from sklearn_ae import AutoencoderTransformer
from sklearn_ae.inspection import ExplainedVarianceDisplay

# %%
# A table of 20 columns that follow from 3 numbers, not linearly, and noise with a standard
# deviation of 0.1.

rng = np.random.default_rng(0)
hidden = rng.uniform(-1, 1, size=(1_600, 3))
features = np.column_stack([hidden, hidden**2, np.sin(3 * hidden), hidden * hidden[:, [1, 2, 0]]])
X = features @ rng.normal(size=(12, 20)) / np.sqrt(12) + 0.1 * rng.normal(size=(1_600, 20))

# %%
# ``ExplainedVarianceDisplay`` trains a clone for each length of the code on three quarters of the
# rows, and asks for the share of the variance that comes back of the others. PCA is asked the
# same. ``kind="error"`` draws the share that is lost, on a logarithmic axis.

display = ExplainedVarianceDisplay.from_estimator(
    AutoencoderTransformer(random_state=0), X, n_components=[1, 2, 3, 4, 5, 6], kind="error"
)
noise = (0.1**2 / X.var(axis=0)).mean()
display.ax_.axhline(noise, color="0.5", ls="--", lw=1, label="share of the noise")
display.ax_.axvline(3, color="0.5", ls=":", lw=1, label="numbers the data were made from")
display.ax_.legend()
plt.show()

assert display.pca_scores is not None  # they are there unless pca=False
for k, ours, pca in zip(display.n_components, display.scores, display.pca_scores, strict=True):
    print(
        f"{k} codes: lost by the autoencoder {1 - ours:.3f}, by PCA {1 - pca:.3f}, {noise:.3f} noise"
    )

# %%
# **What this run showed.** The autoencoder's error fell steeply up to three codes, the number
# that the data were made from, and only slightly afterwards, near the variance of the noise.
# PCA's error shows no such bend: it needs a component for each of the curved features, and with
# six it had not arrived yet.

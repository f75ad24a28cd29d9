"""
How many codes
==============

The reconstruction error falls with every code that is added. Where it stops falling for rows
that the model has not seen is the number of codes that the data call for.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.decomposition import PCA
from sklearn.model_selection import KFold

from sklearn_ae import AutoencoderTransformer

# %%
# A table of 20 columns that follow from 3 numbers, not linearly, and noise with a standard
# deviation of 0.1.

rng = np.random.default_rng(0)
hidden = rng.uniform(-1, 1, size=(1_600, 3))
features = np.column_stack([hidden, hidden**2, np.sin(3 * hidden), hidden * hidden[:, [1, 2, 0]]])
X = features @ rng.normal(size=(12, 20)) / np.sqrt(12) + 0.1 * rng.normal(size=(1_600, 20))

# %%
# Three folds, each length of the code. Both methods are asked for the error of rows left out, in
# the data's own units.

lengths = [1, 2, 3, 4, 5, 6]


def error(model, train, test):
    model.fit(X[train])
    return ((model.inverse_transform(model.transform(X[test])) - X[test]) ** 2).mean()


folds = list(KFold(3, shuffle=True, random_state=0).split(X))
ours = np.array(
    [
        [error(AutoencoderTransformer(k, max_epochs=60, random_state=0), *f) for f in folds]
        for k in lengths
    ]
)
theirs = np.array([[error(PCA(k), *f) for f in folds] for k in lengths])
for k, a, b in zip(lengths, ours.mean(axis=1), theirs.mean(axis=1), strict=True):
    print(f"{k} codes: autoencoder {a:.4f}, PCA {b:.4f}, noise alone {0.1**2 * (1 - k / 20):.4f}")

# %%
fig, ax = plt.subplots(figsize=(6.5, 4), layout="constrained")
for name, errors in {"AutoencoderTransformer": ours, "PCA": theirs}.items():
    ax.errorbar(
        lengths, errors.mean(axis=1), errors.std(axis=1), marker="o", capsize=3, label=name
    )
ax.axhline(0.01, color="0.5", ls="--", lw=1, label="variance of the noise")
ax.axvline(3, color="0.5", ls=":", lw=1, label="numbers the data were made from")
ax.set(xlabel="n_components", ylabel="squared error of rows left out", yscale="log")
ax.legend()
plt.show()

# %%
# **What this run showed.** The autoencoder's error fell steeply up to three codes, the number
# that the data were made from, and only slightly afterwards, near the variance of the noise.
# PCA's error shows no such bend: it needs a component for each of the curved features, and with
# six it had not arrived yet.

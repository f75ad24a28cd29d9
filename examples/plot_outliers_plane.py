"""
What counts as an outlier
=========================

In the plane one can see what detectors have learnt. Three sets of points, each with a tenth of
outliers among the training rows, and four detectors with their defaults.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import make_blobs, make_moons
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import LocalOutlierFactor

from sklearn_ae import AutoencoderOutlierDetector

rng = np.random.default_rng(0)
n, n_outliers = 450, 50
t = rng.uniform(-2, 2, n)
inliers = {
    "two clusters": make_blobs(
        n, centers=[[-3, -3], [3, 3]], cluster_std=[0.4, 1.2], random_state=0
    )[0],
    "a curve": np.column_stack([2.5 * t, 2 * t**2 - 4 + 0.4 * rng.normal(size=n)]),
    "two moons": 3.5 * (make_moons(n, noise=0.06, random_state=0)[0] - [0.5, 0.25]),
}

# %%
# None of them is told which points are outliers. The area under the ROC curve says how well they
# are ranked.

detectors = {
    "AutoencoderOutlierDetector": AutoencoderOutlierDetector(contamination=0.1, random_state=0),
    "the same, n_estimators=1": AutoencoderOutlierDetector(
        1, n_estimators=1, contamination=0.1, random_state=0
    ),
    "IsolationForest": IsolationForest(contamination=0.1, random_state=0),
    "LocalOutlierFactor": LocalOutlierFactor(contamination=0.1, novelty=True),
}
y = np.arange(n + n_outliers) >= n
side = np.linspace(-7, 7, 80)
grid = np.column_stack([a.ravel() for a in np.meshgrid(side, side)])

areas = {}
fig, axes = plt.subplots(3, 4, figsize=(11, 8.2), layout="constrained")
for row, (shape, X) in zip(axes, inliers.items(), strict=True):
    X = np.vstack([X, rng.uniform(-6.5, 6.5, size=(n_outliers, 2))])
    for ax, (name, detector) in zip(row, detectors.items(), strict=True):
        detector.fit(X)
        auc = roc_auc_score(y, -detector.score_samples(X))
        areas[shape, name] = auc
        print(f"{shape:13} {name:27} {auc:.3f}")
        ranks = detector.decision_function(grid).reshape(80, 80)
        ax.contourf(
            side, side, ranks, levels=np.quantile(ranks, np.linspace(0, 1, 12)), cmap="Blues_r"
        )
        ax.contour(side, side, ranks, levels=[0], colors="tab:red")
        ax.scatter(*X[~y].T, s=4, color="k")
        ax.scatter(*X[y].T, s=8, color="tab:orange")
        ax.set(xticks=[], yticks=[], xlim=(-7, 7), ylim=(-7, 7), xlabel=f"{auc:.2f}")
        if ax in axes[0]:
            ax.set_title(name, fontsize=10)
    row[0].set_ylabel(shape)
plt.show()

best = {shape: max(detectors, key=lambda name: areas[shape, name]) for shape in inliers}
ours, single, forest, neighbours = detectors
assert best["a curve"] == best["two moons"] == neighbours
assert all(abs(areas[shape, ours] - areas[shape, forest]) < 0.04 for shape in inliers)
assert areas["two moons", single] < areas["two moons", ours] - 0.04

# %%
# **What this run showed.** No detector won everywhere. LocalOutlierFactor was best on the curved
# shapes. The default and IsolationForest were about level on all three. One network on all rows
# (``n_estimators=1``) was good on the curve, which one number describes, and last on the moons. With
# two columns there is little to reconstruct one from the other. Autoencoders are made for tables
# with many columns that depend on each other.

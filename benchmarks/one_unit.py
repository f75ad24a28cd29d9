"""Outliers among rows whose columns share one unit: pixels and counts, from data that come with
scikit-learn.

``python benchmarks/one_unit.py`` prints the AUROC of each detector, fitted on the rows that it
ranks, 5% of which are outliers. Means over several sets of rows.
"""

import numpy as np
from sklearn.datasets import load_digits, load_sample_images
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import LocalOutlierFactor

from sklearn_ae import AutoencoderOutlierDetector

SHARE = 0.05
DETECTORS = {
    "IsolationForest": lambda X: IsolationForest(random_state=0).fit(X).score_samples(X),
    "LocalOutlierFactor": lambda X: LocalOutlierFactor().fit(X).negative_outlier_factor_,
    **{
        f"scaling={scaling!r}": lambda X, scaling=scaling: (
            AutoencoderOutlierDetector(scaling=scaling, random_state=0).fit(X).score_samples(X)
        )
        for scaling in ("auto", None, "standard", "uniform")
    },
}


def mixed(usual: np.ndarray, others: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Usual rows and some of the others; 1 for the latter."""
    n = max(3, round(SHARE * len(usual)))
    others = np.random.default_rng(seed).permutation(others)[:n]
    return np.vstack([usual, others]), np.repeat([0, 1], [len(usual), n])


def tiles(image: np.ndarray, width: int, n: int, seed: int) -> np.ndarray:
    """Grey squares from random places of an image, as rows."""
    grey, rng = image.mean(axis=2), np.random.default_rng(seed)
    places = zip(*(rng.integers(size - width, size=n) for size in grey.shape), strict=True)
    return np.array([grey[i : i + width, j : j + width].ravel() for i, j in places])


def histograms(image: np.ndarray, n: int, seed: int) -> np.ndarray:
    """How many pixels of a square have each of 16 shades of grey."""
    rows = tiles(image, 16, n, seed)
    return np.array([np.histogram(row, 16, (0, 256))[0] for row in rows], dtype=float)


def tasks():
    """Names, and for each some pairs of rows and labels."""
    X, y = load_digits(return_X_y=True)
    images = X.reshape(-1, 8, 8)
    china, flower = load_sample_images().images
    seeds = range(3)
    yield (
        "a digit among another's",
        [mixed(X[y == i], X[y == (i + 1) % 10], i) for i in range(10)],
    )
    yield "a digit among all others", [mixed(X[y != i], X[y == i], i) for i in range(10)]
    yield "of these, zeros", [mixed(X[y != 0], X[y == 0], seed) for seed in seeds]
    rolled = np.roll(images, 2, axis=2).reshape(len(X), -1)
    yield "digits moved by two pixels", [mixed(X, rolled, seed) for seed in seeds]
    turned = images.transpose(0, 2, 1).reshape(len(X), -1)
    yield "digits mirrored", [mixed(X, turned, seed) for seed in seeds]
    noise = np.random.default_rng(0).normal(scale=4, size=X.shape)
    yield "digits with noise", [mixed(X, (X + noise).clip(0, 16), seed) for seed in seeds]
    yield (
        "tiles of a photograph",
        [mixed(tiles(flower, 8, 1_500, seed), tiles(china, 8, 200, seed), seed) for seed in seeds],
    )
    yield (
        "counts of shades",
        [mixed(histograms(china, 1_500, s), histograms(flower, 200, s), s) for s in seeds],
    )


def main() -> None:
    print("| |", " | ".join(DETECTORS), "|")
    for name, sets in tasks():
        means = [
            np.mean([roc_auc_score(y, -score(X)) for X, y in sets]) for score in DETECTORS.values()
        ]
        print(f"| {name} |", " | ".join(f"{mean:.3f}" for mean in means), "|", flush=True)


if __name__ == "__main__":
    main()

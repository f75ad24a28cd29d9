"""What each part of the detector's scores gives: the mean over tables without it.

A part stays only if taking it away costs more than two standard errors (of the difference, over
tables) in one of the two regimes. The tables are folders of .npz files with X and y (1 = outlier),
such as ADBench's.

    python benchmarks/detector.py DIR [DIR ...] --seeds 0
    python benchmarks/detector.py DIR [DIR ...] --novelty
"""

import argparse
import warnings
from contextlib import ExitStack
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from sklearn_ae import AutoencoderOutlierDetector, _defaults
from sklearn_ae._network import stack, whitening
from sklearn_ae._scores import novelty
from sklearn_ae.architectures import Dense

MAX_ROWS = 10_000


def only(kept):
    """One of the two errors, in scores."""

    def combined(self, errors, around):
        return (errors.log() - 0.5 * around.log())[:, kept].exp()

    return mock.patch.object(novelty.Novelty, "_combined", combined)


def constant(name, value):
    return mock.patch.object(_defaults, name, value)


# What is changed: parameters, parts of the package that are replaced in fit, and one in scores
OUTLIERS = {
    "as it is": ({}, []),
    "not whitened": ({}, [lambda: mock.patch.object(whitening, "HALF", 1e9)]),
    "no rows left out in training": ({}, [lambda: mock.patch.object(stack, "TRIMMED", 0.0)]),
    "a quarter of them left out": ({}, [lambda: mock.patch.object(stack, "TRIMMED", 0.25)]),
    "not trained": ({"learning_rate": 1e-12}, []),
    "8 rows in a codebook": ({"n_components": 8}, []),
    "32 rows in a codebook": ({"n_components": 32}, []),
    "16 members": ({"n_estimators": 16}, []),
    "64 members": ({"n_estimators": 64}, []),
    "256 rows for each": ({"max_samples": 256}, []),
    'scaling="standard"': ({"scaling": "standard"}, []),
    "small dense members": ({"architecture": Dense((32,), linear_path=False)}, []),
    "one autoencoder": ({"n_estimators": 1}, []),
}
NOVELTY = {
    "as it is": ({}, []),
    "the nearest rows alone": ({}, [], lambda: only(0)),
    "reconstruction alone": ({}, [], lambda: only(1)),
    "twice as many steps": ({}, [lambda: constant("MASKED_STEPS", (200, 1_000))]),
    "2,048 kept rows": ({}, [lambda: constant("MEMORY_ROWS", 2_048)]),
}


def split(path, seed, clean):
    """Rows to train on, rows to score and their labels, as in ADBench; all inliers of the former if
    `clean`.
    """
    table = np.load(path)
    X, y = table["X"].astype(np.float64), table["y"].astype(int)
    if len(X) > MAX_ROWS:
        rows, _ = train_test_split(
            np.arange(len(X)), train_size=MAX_ROWS, stratify=y, random_state=seed
        )
        X, y = X[rows], y[rows]
    if clean:
        inliers = np.random.default_rng(seed).permutation(np.flatnonzero(y == 0))
        half = len(inliers) // 2
        train, test = inliers[:half], np.r_[inliers[half:], np.flatnonzero(y == 1)]
    else:
        train, test = train_test_split(
            np.arange(len(X)), test_size=0.3, stratify=y, random_state=seed
        )
    scaler = StandardScaler().fit(X[train])
    return scaler.transform(X[train]), scaler.transform(X[test]), y[test]


def figures(variants, path, seeds, clean):
    """AUROC and average precision of one table, in the mean over seeds (n_variants, 2)."""
    results = np.zeros((len(seeds), len(variants), 2))
    for k, seed in enumerate(seeds):
        train, test, y = split(path, seed, clean)
        detector = None
        for i, (parameters, in_fit, *in_scores) in enumerate(variants):
            if detector is None or not in_scores:
                with ExitStack() as patches:
                    for patch in in_fit:
                        patches.enter_context(patch())
                    detector = AutoencoderOutlierDetector(
                        novelty=clean, random_state=seed, **parameters
                    ).fit(train)
            with ExitStack() as patches:
                for patch in in_scores:
                    patches.enter_context(patch())
                score = -detector.score_samples(test)
            results[k, i] = roc_auc_score(y, score), average_precision_score(y, score)
    return results.mean(axis=0)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--novelty", action="store_true")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--only", nargs="+", help="parts of the names of variants")
    parser.add_argument(
        "--without", nargs="*", default=["InternetAds"], help="tables left out, for time's sake"
    )
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    paths = {
        folder: [p for p in sorted(folder.glob("*.npz")) if p.stem not in options.without]
        for folder in options.folders
    }
    variants = {
        name: variant
        for name, variant in (NOVELTY if options.novelty else OUTLIERS).items()
        if not options.only or any(part in name for part in options.only)
    }
    results = {
        folder: np.array(
            [figures([*variants.values()], path, options.seeds, options.novelty) for path in found]
        )  # (n_tables, n_variants, 2)
        for folder, found in paths.items()
    }
    heads = [f"{folder.name}, {len(found)} tables" for folder, found in paths.items()]
    print("| variant | " + " | ".join(heads) + " |")
    print("|---" * (1 + len(paths)) + "|")
    for i, name in enumerate(variants):
        cells = []
        for found in results.values():
            cells.append("{:.3f} / {:.3f}".format(*found[:, i].mean(axis=0)))
            if i:
                change = found[:, i] - found[:, 0]
                error = change.std(axis=0, ddof=1) / len(change) ** 0.5
                cells[-1] += " ({:+.3f} ± {:.3f} / {:+.3f} ± {:.3f})".format(
                    *np.c_[change.mean(axis=0), error].ravel()
                )
        print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()

"""Ordered codes against a fit for each length, what sparse codes cost, and codes as features.

    python benchmarks/codes.py ordered --tables FOLDER --full 0 0.5
    python benchmarks/codes.py sparse
    python benchmarks/codes.py features

`ordered` gives, for some lengths k, the squared error of held-out rows from the first k components
as a ratio to that of a separate fit of length k. FOLDER holds .npz files with X; without it there
are scikit-learn's digits alone. `sparse` gives the share of entries that are zero, those under a
twentieth of their component's root mean square, the mean activation, and R2 on held-out rows.
Tables are standardised and split 70/30; of large ones 4,000 rows are taken. `features` gives, for
the codes and for PCA's components of standardised columns, the variance lost and the accuracy of
LogisticRegression or the R2 of Ridge on them, in five folds at three seeds.
"""

import argparse
import math
import time
from pathlib import Path

import numpy as np
from sklearn.base import is_classifier
from sklearn.datasets import (
    load_breast_cancer,
    load_diabetes,
    load_digits,
    load_iris,
    load_linnerud,
    load_wine,
)
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import KFold, StratifiedKFold, cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_ae import AutoencoderTransformer
from sklearn_ae.latents import Ordered, Sparse
from sklearn_ae.metrics import reconstruction_r2_scorer

TABLES = ("cardio", "WDBC", "letter", "satellite", "vowels")
SPARSE = {
    "digits 16": (load_digits, 16),
    "digits 64": (load_digits, 64),
    "breast_cancer 8": (load_breast_cancer, 8),
    "wine 8": (load_wine, 8),
}
FEATURES = {
    load_digits: LogisticRegression(max_iter=2_000),
    load_breast_cancer: LogisticRegression(max_iter=2_000),
    load_iris: LogisticRegression(max_iter=2_000),
    load_wine: LogisticRegression(max_iter=2_000),
    load_diabetes: Ridge(),
    load_linnerud: Ridge(),
}


def divided(X):
    X = X[np.random.RandomState(0).permutation(len(X))[:4_000]].astype(float)
    train, test = train_test_split(X, test_size=0.3, random_state=0)
    scaler = StandardScaler().fit(train)
    return scaler.transform(train), scaler.transform(test)


def ordered(arguments):
    tables = {"digits": load_digits().data}
    if arguments.tables:
        tables |= {name: np.load(Path(arguments.tables) / f"{name}.npz")["X"] for name in TABLES}
    for name, X in tables.items():
        train, test = divided(X)
        lengths = [1, 2, 3, 4, 6, 8] + [12, 16] * (name == "digits")

        def error(reconstruction, test=test):
            return ((reconstruction - test) ** 2).mean()

        parameters = {"random_state": 0}
        own = [
            error(AutoencoderTransformer(k, **parameters).fit(train).reconstruct(test))
            for k in lengths
        ]
        for full in arguments.full:
            start = time.perf_counter()
            parameters["batch_size"] = arguments.batch_size
            model = AutoencoderTransformer(lengths[-1], latent=Ordered(full), **parameters).fit(
                train
            )
            seconds = time.perf_counter() - start
            ratios = [
                error(model.reconstruct(test, n_components=k)) / one
                for k, one in zip(lengths, own, strict=True)
            ]
            mean = np.exp(np.mean(np.log(ratios)))
            each = "  ".join(f"{k}: {ratio:.2f}" for k, ratio in zip(lengths, ratios, strict=True))
            print(f"{name:10s} full={full:g} {seconds:5.1f} s  mean {mean:.2f} | {each}")


def sparse(arguments):
    latents = [None, Sparse(), Sparse(active=0.5), Sparse(penalty="kl"), Sparse(0.01, active=1)]
    for name, (load, n_components) in SPARSE.items():
        train, test = divided(load().data)
        varies = train.std(0) > 0
        for latent in latents:
            model = AutoencoderTransformer(n_components, latent=latent, random_state=0).fit(train)
            Z, residuals = (
                model.transform(test),
                model.reconstruct(test)[:, varies] - test[:, varies],
            )
            r2 = 1 - (residuals**2).sum() / ((test - test.mean(0))[:, varies] ** 2).sum()
            near = np.abs(Z) < 0.05 * np.sqrt((Z**2).mean(0))
            zeros = f"zero {(Z == 0).mean():.2f}  near zero {near.mean():.2f}"
            print(f"{name:16s} {latent!s:24s} {zeros}  mean {Z.mean():5.2f}  R2 {r2:.3f}")


def features(arguments):
    for load, last in FEATURES.items():
        X, y = load(return_X_y=True)
        for k in sorted({2, math.ceil(X.shape[1] ** 0.5)}):
            figures = []
            for seed in range(3):
                folds = StratifiedKFold if is_classifier(last) else KFold
                cv = list(folds(5, shuffle=True, random_state=seed).split(X, y))
                for first in (
                    AutoencoderTransformer(k, random_state=seed),
                    make_pipeline(StandardScaler(), PCA(k)),
                ):
                    kept = cross_val_score(first, X, scoring=reconstruction_r2_scorer, cv=cv)
                    model = make_pipeline(first, StandardScaler(), last)
                    score = cross_val_score(model, X, y, cv=cv).mean()
                    figures.append((1 - kept.mean(), score))
            ours, pca = (np.mean(figures[i::2], axis=0).round(3) for i in (0, 1))
            print(f"{load.__name__} {k}: lost {ours[0]} PCA {pca[0]}, score {ours[1]} PCA {pca[1]}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["ordered", "sparse", "features"])
    parser.add_argument("--tables")
    parser.add_argument("--full", type=float, nargs="+", default=[Ordered().full])
    parser.add_argument(
        "--batch-size", type=lambda size: size if size == "auto" else int(size), default="auto"
    )
    arguments = parser.parse_args()
    {"ordered": ordered, "sparse": sparse, "features": features}[arguments.what](arguments)

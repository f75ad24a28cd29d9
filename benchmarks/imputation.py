"""Imputation: values are removed from tables and filled in again, by this library and by
scikit-learn's imputers.

``python benchmarks/imputation.py --data DIR`` reads ``DIR/*.npz``, each with an array ``X``. Rows
are at most 2,000, drawn at random, and standardised before values are removed. Each imputer is
fitted on the rows that it fills. What is compared is the root mean squared error over the removed
values; 1 is about what the mean of the column gives. Without ``--data`` the tables are those that
come with scikit-learn, and a fifth of the values is removed at random.
"""

import argparse
import time
import warnings
from pathlib import Path

import numpy as np
from sklearn.datasets import load_breast_cancer, load_iris, load_wine
from sklearn.exceptions import ConvergenceWarning
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer, KNNImputer, SimpleImputer
from sklearn.preprocessing import scale

from sklearn_ae import AutoencoderImputer

CHOSEN_ON = ["Pima", "WDBC", "annthyroid", "cardio", "vowels"]
JUDGED_ON = ["breastw", "glass", "letter", "mammography", "satellite"]
OWN = {"iris": load_iris, "wine": load_wine, "breast_cancer": load_breast_cancer}
SHARES = [0.1, 0.3, 0.5]
N_ROWS = 2_000
WORSE_THAN_MEAN = 1.02


def load(table: str, folder: Path | None, seed: int) -> np.ndarray:
    """A table's rows, at most `N_ROWS`, standardised; constant columns are left out."""
    X = OWN[table]().data if folder is None else np.load(folder / f"{table}.npz")["X"]
    X = X.astype(np.float64)
    X = np.random.default_rng(seed).permutation(X)[:N_ROWS]
    return scale(X[:, np.ptp(X, axis=0) > 0])


def remove(X: np.ndarray, share: float, blocks: bool, seed: int) -> np.ndarray:
    """X with NaN in a share of its values: any of them, or a run of neighbouring columns (the last
    and the first are such) in each row.
    """
    rng = np.random.default_rng(seed)
    if blocks:
        width = max(1, round(share * X.shape[1]))
        start = rng.integers(X.shape[1], size=(len(X), 1))
        gone = (np.arange(X.shape[1]) - start) % X.shape[1] < width
    else:
        gone = rng.random(X.shape) < share
    return np.where(gone, np.nan, X)


IMPUTERS = {
    "ours": lambda X: AutoencoderImputer(random_state=0).fit_transform(X),
    "mean": lambda X: SimpleImputer().fit_transform(X),
    "neighbours": lambda X: KNNImputer().fit_transform(X),
    "iterative": lambda X: IterativeImputer(random_state=0).fit_transform(X),
}
PEERS = ["mean", "neighbours", "iterative"]


def error(filled: np.ndarray, X: np.ndarray, holed: np.ndarray) -> float:
    """Root mean squared error over the values removed."""
    gone = np.isnan(holed)
    return float(np.sqrt(np.mean((filled - X)[gone] ** 2)))


def measure(X: np.ndarray, share: float, blocks: bool, seed: int) -> dict[str, tuple[float, float]]:
    """Error and seconds of each imputer."""
    holed = remove(X, share, blocks, seed)
    results = {}
    for name, impute in IMPUTERS.items():
        start = time.process_time()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            filled = impute(holed)
        results[name] = error(filled, X, holed), time.process_time() - start
    return results


def geometric_mean(values) -> float:
    return float(np.exp(np.mean(np.log(values))))


def summary(rows: list[dict]) -> str:
    ratios = [row["ours"][0] / min(row[peer][0] for peer in PEERS) for row in rows]
    to_mean = [row["ours"][0] / row["mean"][0] for row in rows]
    return (
        f"{geometric_mean(ratios):.3f} of the best peer's error in the geometric mean, better in "
        f"{np.mean(np.less(ratios, 1)):.0%} of {len(rows)}; at worst {max(ratios):.3f} of it and "
        f"{max(to_mean):.3f} of the mean's; "
        f"{sum(row['ours'][1] for row in rows) / sum(row['iterative'][1] for row in rows):.1f} "
        "times IterativeImputer's time in sum"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--data", type=Path, default=None, help="folder of .npz files, each with an array X"
    )
    parser.add_argument("--tables", nargs="+", default=None)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    own = args.data is None
    args.tables = args.tables or ([*OWN] if own else CHOSEN_ON + JUDGED_ON)
    rows = []
    print(
        "table, rows x columns, removed | "
        + " | ".join(IMPUTERS)
        + " | ratio to the best peer | seconds: "
        + ", ".join(IMPUTERS)
    )
    for table in args.tables:
        X = load(table, args.data, args.seed)
        for blocks in (False,) if own else (False, True):
            for share in [0.2] if own else SHARES:
                results = measure(X, share, blocks, args.seed)
                rows.append({"table": table, "blocks": blocks, **results})
                best = min(results[peer][0] for peer in PEERS)
                print(
                    f"{table}, {len(X)} x {X.shape[1]}, {share:.0%} "
                    f"{'in blocks' if blocks else 'at random'} | "
                    + " | ".join(f"{results[name][0]:.3f}" for name in IMPUTERS)
                    + f" | {results['ours'][0] / best:.3f} | "
                    + ", ".join(f"{results[name][1]:.1f}" for name in IMPUTERS),
                    flush=True,
                )
    for title, tables in {
        "Chosen on": CHOSEN_ON,
        "Judged on": JUDGED_ON,
        "All": args.tables,
    }.items():
        for kind, blocks in {
            "at random": [False],
            "in blocks": [True],
            "both": [False, True],
        }.items():
            some = [row for row in rows if row["table"] in tables and row["blocks"] in blocks]
            if some:
                print(f"{title}, {kind}: {summary(some)}")


if __name__ == "__main__":
    main()

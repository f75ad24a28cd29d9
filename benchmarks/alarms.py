"""How many new clean rows are called outliers: 5 distributions, few and many rows, each setting of
`contamination`.

Run ``python benchmarks/alarms.py``; ``--n-estimators 1``, ``--rows 30 60``, ``--fits 2`` do a part,
``--novelty`` the other regime.
"""

import argparse
import warnings

import numpy as np

from sklearn_ae import AutoencoderOutlierDetector

SHARES = (0.01, 0.05, 0.1)
# for each distribution; few rows say little
FITS = {
    30: 8,
    60: 6,
    90: 6,
    200: 4,
    1_000: 2,
    5_000: 1,
}
N_FEATURES, N_NEW = 6, 4_000


def normal(rng, n):
    mixing = np.random.default_rng(1).normal(size=(N_FEATURES, N_FEATURES))
    return rng.normal(size=(n, N_FEATURES)) @ mixing


def uniform(rng, n):
    return rng.uniform(size=(n, N_FEATURES))


def exponential(rng, n):
    return rng.exponential(size=(n, N_FEATURES))


def student(rng, n):
    return rng.standard_t(3, size=(n, N_FEATURES))


def clustered(rng, n):
    middles = 5 * np.random.default_rng(2).normal(size=(4, N_FEATURES))
    return middles[rng.integers(4, size=n)] + rng.normal(size=(n, N_FEATURES))


DISTRIBUTIONS = (normal, uniform, exponential, student, clustered)


def alarm_rates(draw, n: int, n_estimators: int, seed: int, **parameters) -> dict:
    """The share of new rows that are called outliers, for each setting of `contamination` and for
    p-values of at most 0.05.
    """
    rng = np.random.default_rng(seed)
    X, new = draw(rng, n), draw(rng, N_NEW)
    detector = AutoencoderOutlierDetector(
        n_estimators=n_estimators, random_state=seed, **parameters
    ).fit(X)
    rates = {
        "auto": float((detector.predict(new) == -1).mean()),
        "p <= 0.05": float((detector.p_values(new) <= 0.05).mean()),
    }
    trained, scores = detector.score_samples(X), detector.score_samples(new)
    for share in SHARES:  # the same fit with another `contamination` differs in `offset_` alone
        rates[str(share)] = float((scores < np.percentile(trained, 100 * share)).mean())
    return rates


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n-estimators", type=int, nargs="+", default=[1, 32])
    parser.add_argument("--rows", type=int, nargs="+", default=list(FITS))
    parser.add_argument("--fits", type=int, help="fits for each distribution")
    parser.add_argument("--novelty", action="store_true")
    arguments = parser.parse_args()
    if arguments.novelty:  # which trains one network
        arguments.n_estimators = [1]
    warnings.simplefilter("ignore")
    columns = [*map(str, SHARES), "auto", "p <= 0.05"]
    print("Mean over fits of 5 distributions, and the largest mean of one of them.\n")
    print("| n_estimators, rows |", " | ".join(columns), "|\n|---|" + "---|" * len(columns))
    for n_estimators in arguments.n_estimators:
        for n in arguments.rows:
            fits = range(arguments.fits or FITS.get(n, 2))
            rates = [
                [
                    alarm_rates(draw, n, n_estimators, seed, novelty=arguments.novelty)
                    for seed in fits
                ]
                for draw in DISTRIBUTIONS
            ]
            cells = []
            for column in columns:
                means = [np.mean([one[column] for one in of_draw]) for of_draw in rates]
                cells.append(f"{np.mean(means):.3f}, {np.max(means):.3f}")
            print(f"| {n_estimators}, {n:,} |", " | ".join(cells), "|", flush=True)


if __name__ == "__main__":
    main()

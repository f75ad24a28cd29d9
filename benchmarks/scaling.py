"""How time and memory grow, what an import costs, and how a search uses two processes.

    python benchmarks/scaling.py                    # everything, some minutes
    python benchmarks/scaling.py --only growth memory

Each figure that is a memory peak or an import time comes from a process of its own.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

IMPORTS = """
import json, time
start = time.perf_counter()
import torch, sklearn, skorch
base = time.perf_counter() - start
import sklearn_ae
print(json.dumps([base, time.perf_counter() - start]))
"""

FIRST_FIT = """
import json, time
import numpy as np
import sklearn_ae
X = np.random.default_rng(0).normal(size=(200, 5))
times = []
for _ in range(2):
    start = time.perf_counter()
    sklearn_ae.AutoencoderTransformer(2, max_epochs=20, random_state=0).fit(X).score_samples(X)
    times.append(time.perf_counter() - start)
print(json.dumps(times))
"""

MEMORY = """
import json, resource, sys, warnings
import numpy as np
import sklearn_ae
warnings.simplefilter("ignore")

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # GiB

gigabytes, method = float(sys.argv[1]), sys.argv[2]
small = np.random.default_rng(0).normal(size=(5_000, 200)).astype(np.float32)
model = sklearn_ae.AutoencoderTransformer(8, max_epochs=1, random_state=0)
if method == "predict":
    model = sklearn_ae.AutoencoderOutlierDetector(random_state=0)
model.fit(small)
baseline = peak()
X = np.empty((int(gigabytes * 1e9 / 800), 200), np.float32)
rng = np.random.default_rng(1)
for start in range(0, len(X), 10_000):
    X[start:start + 10_000] = rng.normal(size=X[start:start + 10_000].shape)
if method == "predict":
    X = X[: len(X) // 10]
    baseline = peak() - X.nbytes / 2**30
result = getattr(model, method)(X)
output = 0 if method == "fit" else result.nbytes / 2**30
print(json.dumps([baseline, X.nbytes / 2**30, output, peak()]))
"""


DISK = """
import json, os, resource, sys, time, warnings
import numpy as np
from sklearn.utils import gen_batches
import sklearn_ae
warnings.simplefilter("ignore")
path, kind = sys.argv[1:]

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # GiB

model = sklearn_ae.AutoencoderTransformer(8, max_epochs=1, random_state=0)
model.fit(np.random.default_rng(0).normal(size=(5_000, 100)).astype(np.float32))
baseline = peak()
X = np.load(path, mmap_mode="r")
if kind == "memory":
    X = np.array(X)
codes_path = os.path.join(os.path.dirname(path), "codes.npy")
codes = np.lib.format.open_memmap(codes_path, "w+", np.float32, (len(X), 8))

def transform_in_blocks(X):
    for rows in gen_batches(len(X), 200_000):
        codes[rows] = model.transform(X[rows])

results = []
for step in (model.fit, model.score_samples, transform_in_blocks):
    start, cpu = time.perf_counter(), time.process_time()
    step(X)
    results.append([time.perf_counter() - start, time.process_time() - cpu, peak() - baseline])
print(json.dumps(results))
"""

SPARSE = """
import json, resource, sys, time, warnings
import numpy as np, scipy.sparse as sp
import sklearn_ae
warnings.simplefilter("ignore")
n = int(sys.argv[1])
columns = np.random.default_rng(0).integers(0, 10_000, 10 * n).astype(np.int32)
starts = 10 * np.arange(n + 1, dtype=np.int32)
X = sp.csr_array((np.ones(10 * n, np.float32), columns, starts), shape=(n, 10_000))
X.sum_duplicates()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
start = time.process_time()
model = sklearn_ae.AutoencoderTransformer(8, max_epochs=1, random_state=0).fit(X)
middle = time.process_time()
model.score_samples(X)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
print(json.dumps([middle - start, time.process_time() - middle, peak - before]))
"""


def child(code, *arguments):
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return json.loads(
        subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1]
    )


def imports():
    child(IMPORTS)
    pairs = [child(IMPORTS) for _ in range(5)]
    base, ours = (statistics.median(column) for column in zip(*pairs, strict=True))
    print(
        f"import torch, sklearn, skorch {base:.2f} s; and sklearn_ae {ours:.2f} s: "
        f"{ours / base:.3f} times as long"
    )
    first, second = child(FIRST_FIT)
    print(f"first fit in a process {first:.2f} s, the second {second:.2f} s")


def memory(gigabytes=2.0):
    for method in ("fit", "score_samples", "transform", "predict"):
        baseline, data, output, peak = child(MEMORY, gigabytes, method)
        extra = peak - baseline
        if method == "fit":
            print(
                f"fit            data {data:.2f} GiB  peak over the baseline {extra:.2f} GiB: "
                f"{extra / data:.2f} of the data"
            )
        else:
            beyond = 1024 * (extra - data - output)
            print(f"{method:14s} data {data:.2f} GiB  peak beyond data and output {beyond:.0f} MiB")


def disk(n_rows=10_000_000):
    """A memory map of 100 columns in float32, beside the same rows in memory. It is written to a
    temporary folder.
    """
    import tempfile

    import numpy as np

    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "X.npy")
        X = np.lib.format.open_memmap(path, "w+", np.float32, (n_rows, 100))
        rng = np.random.default_rng(0)
        for start in range(0, n_rows, 100_000):
            X[start : start + 100_000] = rng.normal(size=X[start : start + 100_000].shape)
        del X
        for kind in ("disk", "memory"):
            names = ("one epoch", "scores", "codes, written to a memory map")
            for name, (seconds, cpu, peak) in zip(names, child(DISK, path, kind), strict=True):
                time_taken = f"{seconds:.0f} s ({cpu:.0f} s of CPU)"
                print(
                    f"{n_rows:,} x 100, {kind:6s} {name}: {time_taken}, peak {peak:.2f} GiB over "
                    "the baseline",
                    flush=True,
                )


def sparse(n_rows=1_000_000):
    fit, score, extra = child(SPARSE, n_rows)
    cpu = f"one epoch {fit:.0f} s of CPU, scores {score:.0f} s"
    print(f"{n_rows:,} x 10,000, 0.1% not zero: {cpu}, {extra:.2f} GiB beyond the data")


def growth(most=1_000_000):
    import warnings

    import numpy as np

    from sklearn_ae import AutoencoderOutlierDetector, AutoencoderTransformer

    warnings.simplefilter("ignore")
    print(
        "| rows | 1 epoch, us per row | 4 epochs, us per row and epoch | fit, defaults | score | "
        "detector fit | detector score |"
    )
    print("|---|---|---|---|---|---|---|")
    n = 1_000
    while n <= most:
        X = np.random.default_rng(0).normal(size=(n, 20)).astype(np.float32)
        cells = [f"{n:,}"]
        for n_epochs in (1, 4):
            model = AutoencoderTransformer(
                5, max_epochs=n_epochs, batch_size=256, early_stopping=False, random_state=0
            )
            cells.append(f"{1e6 * timed(model.fit, X) / n / n_epochs:.1f}")
        model, detector = (
            AutoencoderTransformer(5, random_state=0),
            AutoencoderOutlierDetector(random_state=0),
        )
        calls = (model.fit, model.score_samples, detector.fit, detector.score_samples)
        cells += [f"{timed(call, X):.2f} s" for call in calls]
        print("| " + " | ".join(cells) + " |", flush=True)
        n *= 10


def search():
    import warnings

    from sklearn.datasets import load_digits
    from sklearn.model_selection import GridSearchCV

    from sklearn_ae import AutoencoderTransformer

    os.environ["PYTHONWARNINGS"] = "ignore"
    warnings.simplefilter("ignore")
    X = load_digits().data
    grid = {
        "n_components": [2, 4, 8, 16],
        "learning_rate": [3e-3, 1e-2],
        "weight_decay": [0, 1e-2, 1e-1],
    }
    model = AutoencoderTransformer(max_epochs=40, random_state=0)
    GridSearchCV(model, {"n_components": [2, 3]}, cv=2, n_jobs=2).fit(X[:100])  # starts the workers
    one, two = (timed(GridSearchCV(model, grid, cv=3, n_jobs=n).fit, X) for n in (1, 2))
    print(
        f"24 candidates x 3 folds: one process {one:.1f} s, two {two:.1f} s: {one / two:.2f} times "
        "as fast"
    )


def timed(function, *arguments):
    """Seconds, the least of three where they are few."""
    times = []
    while not times or (len(times) < 3 and times[0] < 10):
        start = time.perf_counter()
        function(*arguments)
        times.append(time.perf_counter() - start)
    return min(times)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parts = [imports, memory, growth, search, disk, sparse]
    parser.add_argument(
        "--only",
        nargs="+",
        choices=[part.__name__ for part in parts],
        default=[part.__name__ for part in parts],
    )
    parser.add_argument(
        "--rows",
        type=int,
        default=1_000_000,
        help="most rows of the table of growth, of disk and of sparse",
    )
    options = parser.parse_args()
    for part in parts:
        if part.__name__ in options.only:
            part(options.rows) if part in (growth, disk, sparse) else part()

"""One fit by two processes on two cores, against one process on one core.

    python benchmarks/distributed.py

784 -> 512 -> 32 -> 512 -> 784, made-up rows, batches of 512 rows of both processes together, and
of 512 rows of each. Each process has one core of its own; run it on an idle machine with two or
more. `--only model` measures nothing: it prints what a step would take with up to 1,000 processes,
by the formulas in the README.
"""

import argparse
import os
import statistics
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from skorch.callbacks import EpochTimer

from sklearn_ae import AutoencoderTransformer, distributed
from sklearn_ae.architectures import Dense

BATCH = 512
SPEED = 50e9  # floating-point operations a second of one core
LATENCY = 50e-6  # seconds, of one message


def estimator(n_epochs, batch_size):
    return AutoencoderTransformer(
        32,
        architecture=Dense((512,)),
        batch_size=batch_size,
        max_epochs=n_epochs,
        early_stopping=False,
        callbacks=[EpochTimer()],
        random_state=0,
    )


def rows(n, seed):
    directions = np.random.default_rng(9).normal(size=(32, 784))
    return (np.random.default_rng(seed).normal(size=(n, 32)) @ directions).astype(np.float32)


def fit(rank, n_processes, batch_size, n_rows, n_epochs, folder):
    """Fit with a share of the rows on one core; rank 0 writes the seconds of an epoch."""
    warnings.filterwarnings("ignore")
    os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[rank]})
    torch.set_num_threads(1)
    if n_processes > 1:
        dist.init_process_group(
            "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=n_processes
        )
    model = estimator(n_epochs, batch_size)
    distributed.fit(model, rows(n_rows // n_processes, rank))
    if rank == 0:
        seconds = statistics.median(model.net_.history[1:, "dur"])  # the first one warms up
        Path(folder, "seconds").write_text(str(seconds))
    if n_processes > 1:
        dist.destroy_process_group()


def rows_a_second(n_processes, batch_size, n_rows, n_epochs):
    with tempfile.TemporaryDirectory() as folder:
        arguments = (n_processes, batch_size, n_rows, n_epochs, folder)
        torch.multiprocessing.spawn(fit, arguments, nprocs=n_processes)
        return n_rows / float(Path(folder, "seconds").read_text())


def model():
    """A ring: each process sends 2 (w - 1) / w of the gradients in 2 (w - 1) messages."""
    encoder, decoder = Dense((512,)).build(784, 32, 32)
    weights = sum(p.numel() for part in (encoder, decoder) for p in part.parameters())
    print(
        f"{weights:,} weights, {4 * weights / 1e6:.2f} MB a step; batch of all, or of each: {BATCH}"
    )
    alone = 6 * weights * BATCH / SPEED
    print(f"one process: {1e3 * alone:.0f} ms a step")
    for n in (2, 10, 100, 1_000):
        sent = 2 * (n - 1) / n * 4 * weights
        print(f"{n} processes, {sent / 1e6:.1f} MB sent by each", end="")
        for gigabits in (1, 100):
            exchange = sent / (gigabits * 1e9 / 8) + 2 * (n - 1) * LATENCY
            fixed, growing = alone / (alone / n + exchange), n * alone / (alone + exchange)
            print(
                f"; {gigabits} Gbit/s: {1e3 * exchange:.1f} ms, x {fixed:.2g} or {growing:.3g}",
                end="",
            )
        print()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", choices=["model"])
    parser.add_argument("--rows", type=int, default=40_000)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    model()
    if arguments.only is None:
        print(f"load before: {os.getloadavg()[0]:.1f}, which should be under 1.5")
        begun = time.monotonic()
        for _ in range(arguments.repeats):
            one, two, each = (
                rows_a_second(n, batch_size, arguments.rows, arguments.epochs)
                for n, batch_size in ((1, BATCH), (2, BATCH), (2, 2 * BATCH))
            )
            print(
                f"rows a second: one process {one:,.0f}, two {two:,.0f}: x {two / one:.2f}; two "
                f"with {BATCH} rows of each {each:,.0f}: x {each / one:.2f}"
            )
        print(f"{time.monotonic() - begun:.0f} s")

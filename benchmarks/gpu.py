"""Training on a CUDA device against a bare PyTorch loop on the same card, pair by pair.

    python benchmarks/gpu.py

Workloads: `table`, 10,000 x 20 -> 64 -> 5, batch 256, eager loop; `wide`, 1,000,000 x 784 -> 512 ->
32, batch 8,192, the loop as it is and with bfloat16. Ratios of medians within one run count. Also
runs the tests marked `gpu` if pytest is there.
"""

import argparse
import itertools
import statistics
import subprocess
import sys
import time

import numpy as np
import torch
from torch import nn

from sklearn_ae import AutoencoderTransformer
from sklearn_ae.architectures import Dense


def seconds(function):
    torch.cuda.synchronize()
    start = time.perf_counter()
    function()
    torch.cuda.synchronize()
    return time.perf_counter() - start


def network(*widths):
    layers = []
    for a, b in itertools.pairwise(widths):
        layers += [nn.Linear(a, b), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def loop(x, widths, batch_size, n_epochs, bfloat16):
    """The least that PyTorch can do: the data on the card, slices as batches, fused Adam, one
    synchronisation.
    """
    encoder, decoder = network(*widths).cuda(), network(*widths[::-1]).cuda()
    optimizer = torch.optim.Adam(
        [*encoder.parameters(), *decoder.parameters()], lr=1e-3, fused=True
    )
    total = torch.zeros((), device="cuda")
    for _ in range(n_epochs):
        rows = x[torch.randperm(len(x), device="cuda")]
        for batch in rows.split(batch_size):
            with torch.autocast("cuda", torch.bfloat16, enabled=bfloat16):
                loss = nn.functional.mse_loss(decoder(encoder(batch)), batch)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            total += loss.detach()
    return total.item()


def compare(name, X, hidden, n_components, batch_size, n_epochs, runs):
    x = torch.from_numpy(X).cuda()
    for bfloat16 in (False, True):
        model = AutoencoderTransformer(
            n_components,
            architecture=Dense(hidden, activation="relu", linear_path=False),
            optimizer="adam",
            learning_rate=1e-3,
            learning_rate_schedule="constant",
            max_epochs=n_epochs,
            batch_size=batch_size,
            early_stopping=False,
            scaling=None,
            mixed_precision=bfloat16,
            device="cuda",
            random_state=0,
        )
        widths = (X.shape[1], *hidden, n_components)

        def reference(widths=widths, bfloat16=bfloat16):
            return loop(x, widths, batch_size, n_epochs, bfloat16)

        def ours(model=model):
            return model.fit(X)

        reference(), ours()
        times = [(seconds(reference), seconds(ours)) for _ in range(runs)]
        base, mine = (statistics.median(column) for column in zip(*times, strict=True))
        kind = "bfloat16" if bfloat16 else "float32"
        print(
            f"{name:6s} {kind:8s} loop {base:.3f} s  sklearn_ae {mine:.3f} s  loop / sklearn_ae "
            f"{base / mine:.2f}",
            flush=True,
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of `wide`")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("no CUDA device here")
    print(torch.cuda.get_device_name(), "torch", torch.__version__)
    rng = np.random.default_rng(0)
    subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n", "0", "-m", "gpu", "tests/test_gpu.py"],
        check=False,
    )
    table = rng.normal(size=(10_000, 20)).astype(np.float32)
    compare("table", table, (64,), 5, 256, 50, options.runs)
    wide = rng.random((options.rows, 784), dtype=np.float32)
    compare("wide", wide, (512,), 32, 8_192, 3, options.runs)


if __name__ == "__main__":
    main()

"""Training and scoring against a bare PyTorch loop and against peers, each as a ratio within one
run.

    python benchmarks/speed.py

`images`: 60,000 x 784 -> 32 -> 784, cross-entropy (squared error for MLPRegressor), batch 256.
`table`: 10,000 x 20 -> 64 -> 5 -> 64 -> 20, squared error, batch 32. `score`: 500,000 x 30. The
loop keeps the data as one tensor, takes a permutation an epoch, gathers batches by index, and uses
fused Adam. Peers that are not installed are left out. `--only compile`, some minutes: 60,000 x 784
with the default network, compiled against eager.
"""

import argparse
import importlib.util
import os
import statistics
import time
import warnings

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPRegressor
from skorch.callbacks import EpochTimer
from torch import nn

from sklearn_ae import AutoencoderTransformer
from sklearn_ae.architectures import Dense


def images():
    digits = load_digits().data.reshape(-1, 8, 8) / 16
    large = np.kron(digits, np.ones((1, 4, 4)))[:, 2:30, 2:30].reshape(len(digits), -1)  # 28 x 28
    X = np.tile(large, (34, 1))[:60_000].astype(np.float32)
    return X, (32,), 256, 2, nn.BCEWithLogitsLoss(), "binary_cross_entropy"


def table():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(10_000, 5)) @ rng.normal(size=(5, 20)) + 0.1 * rng.normal(
        size=(10_000, 20)
    )
    return (X / X.std(0)).astype(np.float32), (64, 5), 32, 5, nn.MSELoss(), "squared_error"


def network(n_features, widths):
    if len(widths) == 1:
        return nn.Sequential(
            nn.Linear(n_features, widths[0]), nn.ReLU(), nn.Linear(widths[0], n_features)
        )
    hidden, code = widths
    encoder = [nn.Linear(n_features, hidden), nn.ReLU(), nn.Linear(hidden, code)]
    return nn.Sequential(
        *encoder, nn.Linear(code, hidden), nn.ReLU(), nn.Linear(hidden, n_features)
    )


def bare_loop(X, widths, batch_size, n_epochs, criterion, _):
    module, x = network(X.shape[1], widths), torch.from_numpy(X)
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-3, fused=True)
    for _ in range(n_epochs):
        order = torch.randperm(len(x))
        for start in range(0, len(x), batch_size):
            batch = x[order[start : start + batch_size]]
            loss = criterion(module(batch), batch)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()


def ours(X, widths, batch_size, n_epochs, _, loss):
    hidden, latent_activation = (widths[:-1], None) if len(widths) > 1 else ((), "relu")
    AutoencoderTransformer(
        widths[-1],
        architecture=Dense(
            hidden, activation="relu", latent_activation=latent_activation, linear_path=False
        ),
        loss=loss,
        optimizer="adam",
        learning_rate=1e-3,
        learning_rate_schedule="constant",
        max_epochs=n_epochs,
        batch_size=batch_size,
        early_stopping=False,
        device="cpu",
        random_state=0,
    ).fit(X)


def mlp_regressor(X, widths, batch_size, n_epochs, *_):
    hidden = widths if len(widths) == 1 else (widths[0], widths[1], widths[0])
    MLPRegressor(
        hidden_layer_sizes=hidden,
        batch_size=batch_size,
        max_iter=n_epochs,
        n_iter_no_change=n_epochs + 1,
        random_state=0,
    ).fit(X, X)


def skorch_as_it_comes(X, widths, batch_size, n_epochs, criterion, _):
    import skorch

    skorch.NeuralNet(
        network(X.shape[1], widths),
        type(criterion),
        optimizer=torch.optim.Adam,
        lr=1e-3,
        max_epochs=n_epochs,
        batch_size=batch_size,
        train_split=None,
        iterator_train__shuffle=True,
        verbose=0,
    ).fit(X, X)


def pyod_autoencoder(X, widths, batch_size, n_epochs, *_):
    from pyod.models.auto_encoder import AutoEncoder

    AutoEncoder(
        epoch_num=n_epochs,
        batch_size=batch_size,
        hidden_neuron_list=list(widths),
        verbose=0,
        random_state=0,
    ).fit(X)


def keras_as_it_comes(X, widths, batch_size, n_epochs, _, loss):
    if importlib.util.find_spec("tensorflow") is None:
        os.environ.setdefault("KERAS_BACKEND", "torch")
    import keras

    hidden, code = widths[:-1], widths[-1]
    dense = keras.layers.Dense
    layers = (
        [dense(n, "relu") for n in hidden]
        + [dense(code, None if hidden else "relu")]
        + [dense(n, "relu") for n in hidden[::-1]]
    )
    crossed = loss == "binary_cross_entropy"
    model = keras.Sequential([*layers, dense(X.shape[1], "sigmoid" if crossed else None)])
    model.compile("adam", loss="binary_crossentropy" if crossed else "mse")
    model.fit(X, X, batch_size=batch_size, epochs=n_epochs, verbose=0)


def compare(name, workload, peers, runs):
    work = workload()
    rows = {}
    for peer in peers:
        try:
            peer(*work)
        except ImportError:
            print(f"{name:7s} {peer.__name__} is not installed")
            continue
        rows[peer] = []
    for _ in range(runs):
        for peer, times in rows.items():
            start = time.perf_counter()
            peer(*work)
            times.append(time.perf_counter() - start)
    base = statistics.median(rows[bare_loop])
    for peer, times in rows.items():
        seconds = statistics.median(times)
        print(
            f"{name:7s} {peer.__name__:20s} {seconds / work[3]:.3f} s an epoch, "
            f"{seconds / base:.2f} of the loop",
            flush=True,
        )


def score(runs):
    X = np.random.default_rng(0).normal(size=(500_000, 30)).astype(np.float32)
    architecture = Dense((64,), activation="relu", linear_path=False)
    model = AutoencoderTransformer(
        8, architecture=architecture, max_epochs=1, device="cpu", random_state=0
    ).fit(X[:5_000])
    module = network(30, (64, 8))

    def reference():
        with torch.inference_mode():
            for batch in torch.from_numpy(X).split(8_192):
                (module(batch) - batch).square().mean(1).numpy()

    times = ([], [])
    calls = (reference, lambda: model.score_samples(X))
    for call in calls:
        call()
    for _ in range(runs):
        for call, seconds in zip(calls, times, strict=True):
            start = time.perf_counter()
            call()
            seconds.append(time.perf_counter() - start)
    base, mine = map(statistics.median, times)
    print(f"score   bare loop {base:.3f} s, ours {mine:.3f} s, {mine / base:.2f} of the loop")


def compile_(runs):
    """The default network on the rows of `images`, eager and compiled in turns; what compiling
    itself takes is told apart.
    """
    X = images()[0]
    epochs = {False: [], True: []}
    for _ in range(runs):
        for compiled, times in epochs.items():
            model = AutoencoderTransformer(
                32,
                max_epochs=6,
                early_stopping=False,
                compile=compiled,
                callbacks=[EpochTimer()],
                random_state=0,
            )
            start = time.perf_counter()
            model.fit(X)
            seconds = time.perf_counter() - start
            durations = model.net_.history[:, "dur"]
            times += durations[1:]
            print(
                f"compile {compiled!s:5s} fit {seconds:.1f} s, of which epochs "
                f"{sum(durations):.1f} s",
                flush=True,
            )
    eager, compiled = (statistics.median(times) for times in epochs.values())
    print(
        f"compile eager {eager:.3f} s an epoch, compiled {compiled:.3f} s, {compiled / eager:.2f} "
        "of it"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument(
        "--only",
        nargs="+",
        choices=["images", "table", "score", "compile"],
        default=["images", "table", "score"],
    )
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    everyone = [
        bare_loop,
        ours,
        mlp_regressor,
        skorch_as_it_comes,
        keras_as_it_comes,
        pyod_autoencoder,
    ]
    for name, workload in (("images", images), ("table", table)):
        if name in options.only:
            compare(name, workload, everyone, options.runs)
    for name, part in (("score", score), ("compile", compile_)):
        if name in options.only:
            part(options.runs)

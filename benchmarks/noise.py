"""Networks that are trained with noise: digits denoised, and variational codes of digits.

``python benchmarks/noise.py`` prints, for each of two splits of scikit-learn's digits, how many dB
`GaussianNoise(0.3)` with 16 codes gains on PCA with the number of components that is best on the
test rows, the share of the new rows' variance that 8 variational codes keep, and the CPU time of
each fit over that of a plain one.
"""

import time

import numpy as np
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.model_selection import train_test_split

from sklearn_ae import AutoencoderTransformer
from sklearn_ae.corruptions import GaussianNoise
from sklearn_ae.latents import Variational

STD = 0.3


def fitted(X: np.ndarray, *args, **kwargs) -> tuple[AutoencoderTransformer, float]:
    """A model, and the seconds that its fit took."""
    start = time.process_time()
    model = AutoencoderTransformer(*args, **kwargs, random_state=0).fit(X)
    return model, time.process_time() - start


def main() -> None:
    X = load_digits().data / 16
    for seed in range(2):
        train, test = train_test_split(X, random_state=seed)
        noisy = test + STD * np.random.default_rng(seed).normal(size=test.shape)

        def error(reconstructed: np.ndarray, test: np.ndarray = test) -> float:
            return float(np.mean((reconstructed - test) ** 2))

        pcas = [PCA(k).fit(train) for k in range(4, 33)]
        best = min(error(pca.inverse_transform(pca.transform(noisy))) for pca in pcas)
        _, plain = fitted(train, 16, scaling=None)
        denoising, seconds = fitted(train, 16, corruption=GaussianNoise(STD), scaling=None)
        gain = 10 * np.log10(best / error(denoising.reconstruct(noisy)))
        print(f"split {seed}: denoising {gain:.2f} dB, {seconds / plain:.1f} of the time")
        _, plain = fitted(train, 8)
        variational, seconds = fitted(train, 8, latent=Variational())
        kept = 1 - error(variational.reconstruct(test)) / np.mean((test - train.mean(0)) ** 2)
        print(f"split {seed}: variational R2 {kept:.3f}, {seconds / plain:.1f} of the time")


if __name__ == "__main__":
    main()

"""
Denoise images
==============

A denoising autoencoder is trained to give the clean image for a noisy one. The noise is made in
training, so only clean images are needed.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.model_selection import train_test_split

from sklearn_ae import AutoencoderTransformer
from sklearn_ae.corruptions import GaussianNoise

# %%
# Pixels lie in [0, 1] after a division by 16. With ``scaling=None`` the noise of 0.3 means 0.3
# of that range, for each pixel alike. With the default scaling it would mean 0.3 standard
# deviations of each pixel, which is less for the pixels in the corners than for those in the
# middle.

X, _ = load_digits(return_X_y=True)
X_train, X_test = train_test_split(X / 16, random_state=0)
noisy = X_test + 0.3 * np.random.default_rng(0).normal(size=X_test.shape)

denoising = AutoencoderTransformer(
    32, corruption=GaussianNoise(0.3), scaling=None, random_state=0
).fit(X_train)
plain = AutoencoderTransformer(32, scaling=None, random_state=0).fit(X_train)

# %%
# PCA denoises as well, if few components are kept. It is given the best number of them, chosen
# on the test images.


def error(images):
    return ((images - X_test) ** 2).mean()


def through_pca(k):
    pca = PCA(k).fit(X_train)
    return pca.inverse_transform(pca.transform(noisy))


best = min(range(4, 33), key=lambda k: error(through_pca(k)))
results = {
    "noisy": noisy,
    f"PCA({best})": through_pca(best),
    "plain autoencoder": plain.reconstruct(noisy),
    "denoising autoencoder": denoising.reconstruct(noisy),
    "clean": X_test,
}
for name, images in results.items():
    print(f"{name:24} squared error {error(images):.4f}")
errors = [error(images) for images in results.values()]
assert errors[3] < 0.6 * errors[1]
assert errors[3] < 0.25 * errors[0]
assert 0.5 * errors[0] < errors[2] < errors[0]

# %%
fig, axes = plt.subplots(len(results), 10, figsize=(9, 5), layout="constrained")
for row, (name, images) in zip(axes, results.items(), strict=True):
    for ax, image in zip(row, images[:10], strict=True):
        ax.imshow(image.reshape(8, 8), cmap="gray_r", vmin=0, vmax=1)
        ax.set(xticks=[], yticks=[])
    row[0].set_ylabel(
        f"{name}\n{error(images):.4f}" if name != "clean" else name,
        rotation=0,
        ha="right",
        va="center",
    )
plt.show()

# %%
# **What this run showed.** The denoising autoencoder left little more than half of the error of
# PCA's best, and about a fifth of the noise's. The plain autoencoder, trained without noise, took
# away less than half of the noise: it takes most of it for content. What a network is trained
# against matters more than that it is a network.

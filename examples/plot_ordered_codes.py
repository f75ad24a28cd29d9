"""
As many codes as 90% of the variance needs
==========================================

PCA puts its components in order of importance, so one fit serves every length. Codes of an
autoencoder have no order, unless it is trained to give them one. ``n_components=0.9`` does so,
and keeps as many as explain that share of the variance of rows held out, as in PCA.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.model_selection import train_test_split

from sklearn_ae import AutoencoderTransformer

X, y = load_digits(return_X_y=True)
X_train, X_test, _, y_test = train_test_split(X / 16, y, test_size=0.25, random_state=0)

share = 0.9
model = AutoencoderTransformer(share, scaling=None, random_state=0).fit(X_train)
pca = PCA(share).fit(X_train)
print(
    f"{share:.0%} of the variance: {model.n_components_} codes, {pca.n_components_} components of PCA"
)

# %%
# What came back of the test digits, from the first codes only. No length was trained by itself.

lengths = [1, 2, 4, 8, model.n_components_]
total = ((X_test - X_train.mean(axis=0)) ** 2).sum()


def back_from_pca(k):
    Z = pca.transform(X_test)
    Z[:, k:] = 0
    return pca.inverse_transform(Z)


ours = [model.reconstruct(X_test, n_components=k) for k in lengths]
theirs = [back_from_pca(k) for k in lengths]
explained = [1 - ((X_test - X_back) ** 2).sum() / total for X_back in ours]
explained_pca = [1 - ((X_test - X_back) ** 2).sum() / total for X_back in theirs]
for k, a, b in zip(lengths, explained, explained_pca, strict=True):
    print(f"{k:2d} numbers: {a:.1%} of the test digits' variance, PCA {b:.1%}")
all_of_pca = 1 - ((X_test - back_from_pca(pca.n_components_)) ** 2).sum() / total
print(f"all {pca.n_components_} components of PCA: {all_of_pca:.1%}")

# %%
# ``explained_variance_ratio_`` has what each code adds, measured on rows that the fit held out.
# PCA measures it on the rows that it was fitted to.

fig = plt.figure(figsize=(10, 3.2), layout="constrained")
left, right = np.asarray(fig.subfigures(1, 2, width_ratios=[1, 1.2]))
ax = left.subplots()
for name, ratio in (
    ("autoencoder", model.explained_variance_ratio_),
    ("PCA", pca.explained_variance_ratio_),
):
    ax.plot(np.arange(1, len(ratio) + 1), ratio.cumsum(), ".-", label=name)
ax.axhline(share, color="k", ls="--", lw=1, label="asked for")
ax.set(
    xticks=[1, 5, 10, 15, 20],
    xlabel="first numbers of the code",
    ylabel="share of the variance",
    ylim=(0, 1),
)
ax.legend()
three = np.flatnonzero(y_test == 3)[0]
rows = [[X_back[three] for X_back in (*images, X_test)] for images in (ours, theirs)]
axes = right.subplots(2, len(lengths) + 1)
for ax, picture in zip(axes.flat, rows[0] + rows[1], strict=True):
    ax.imshow(picture.reshape(8, 8), cmap="gray_r", vmin=0, vmax=1)
    ax.set(xticks=[], yticks=[])
for ax, k in zip(axes[0], [*lengths, "digit"], strict=True):
    ax.set_title(k)
axes[0, 0].set_ylabel("autoencoder")
axes[1, 0].set_ylabel("PCA")
plt.show()

# %%
# **What this run showed.** The autoencoder reached 90% with fewer numbers than PCA. One fit gave
# codes of every length, and at each more of the test digits came back than with PCA, though with
# one number hardly more. The share that was asked for, measured on rows held out from the fit, was
# also that of the test digits; PCA's, measured on its own training rows, was a little too high.

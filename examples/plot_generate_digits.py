"""
Draw digits that nobody wrote
=============================

A variational autoencoder gives each image a small cloud of codes in place of a point. Nearby
codes then decode to similar images, so new images can be drawn, and one image can be changed
into another step by step.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_ae import AutoencoderTransformer
from sklearn_ae.latents import Variational

# %%
# Fit, and draw 1,000 images. A classifier trained on real digits counts how many of them it
# recognises with a probability over 0.95. For comparison it gets held-out real digits, and draws
# from a normal distribution with the mean and covariance of the training images.

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X / 16, y, random_state=0)
model = AutoencoderTransformer(8, latent=Variational(), scaling=None, random_state=0).fit(X_train)
drawn = model.sample(1_000, random_state=0)

classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2_000)).fit(
    X_train, y_train
)
normal = np.random.default_rng(0).multivariate_normal(
    X_train.mean(0), np.cov(X_train.T), size=1_000
)
for name, images in {"real digits": X_test, "drawn": drawn, "drawn from a normal": normal}.items():
    print(
        f"{name:20} recognised with certainty: {(classifier.predict_proba(images).max(1) > 0.95).mean():.0%}"
    )

# %%
# Are they copies of training images? The distance to the nearest training image tells. Held-out
# real digits are the measure.

nearest = NearestNeighbors(n_neighbors=1).fit(X_train)
distances = {
    name: np.median(nearest.kneighbors(images)[0])
    for name, images in {"real": X_test, "drawn": drawn}.items()
}
print(
    f"median distance to the nearest training image: real {distances['real']:.2f}, drawn {distances['drawn']:.2f}"
)

# %%
# A walk from one digit to another goes along a straight line between their codes.

start, end = X_test[y_test == 3][0], X_test[y_test == 6][0]
z = model.transform(np.array([start, end]))
steps = np.linspace(0, 1, 10)[:, None]
walk = model.inverse_transform((1 - steps) * z[0] + steps * z[1])
blend = (1 - steps) * start + steps * end

# %%
fig = plt.figure(figsize=(9, 6.2), layout="constrained")
top, bottom = np.asarray(fig.subfigures(2, 1, height_ratios=[3, 2.2]))
for ax, image in zip(top.subplots(4, 12).flat, drawn, strict=False):
    ax.imshow(image.reshape(8, 8), cmap="gray_r", vmin=0, vmax=1)
    ax.set(xticks=[], yticks=[])
top.suptitle("Drawn")
for row, images, title in zip(
    bottom.subplots(2, 10), (walk, blend), ("between codes", "between pixels"), strict=True
):
    for ax, image in zip(row, images, strict=True):
        ax.imshow(image.reshape(8, 8), cmap="gray_r", vmin=0, vmax=1)
        ax.set(xticks=[], yticks=[])
    row[0].set_ylabel(title, rotation=0, ha="right", va="center")
bottom.suptitle("From one digit to another")
plt.show()

# %%
# **What this run showed.** The classifier was as certain about drawn digits as about real ones,
# and far less certain about draws from a normal distribution. Drawn digits lie *nearer* to a
# training image than real ones do: they are smooth and typical, not copies, but they do not show
# the full variety either. Between codes, the walk passes through digits; between pixels, it
# shows two digits at once.

"""
Your own network
================

``Custom`` takes any encoder and decoder. Here the code should be an angle, so the decoder begins
with its sine and cosine.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import nn

from sklearn_ae import AutoencoderTransformer
from sklearn_ae.architectures import Custom

# %%
# Noisy points on a closed curve in space. One number can say where on the curve a point is, but
# a plain code runs from one end to the other, and a closed curve has no ends.

rng = np.random.default_rng(0)
angle = rng.uniform(-np.pi, np.pi, 1_200)
X = np.column_stack([np.cos(angle), np.sin(angle), 0.6 * np.sin(2 * angle)]) + 0.03 * rng.normal(
    size=(1_200, 3)
)

# %%
# Two classes of plain torch. They are given as classes, so that a network of the right size is
# made at each fit: the encoder is called with the numbers of columns and of outputs, the decoder
# with the numbers of components and of columns.


class ToAngle(nn.Module):
    def __init__(self, n_features, n_outputs):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(n_features, 128),
            nn.SiLU(),
            nn.Linear(128, 128),
            nn.SiLU(),
            nn.Linear(128, 2 * n_outputs),
        )

    def forward(self, x):
        sine, cosine = self.layers(x).chunk(2, dim=1)
        return torch.atan2(sine, cosine)


class FromAngle(nn.Module):
    def __init__(self, n_components, n_features):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(2 * n_components, 128),
            nn.SiLU(),
            nn.Linear(128, 128),
            nn.SiLU(),
            nn.Linear(128, n_features),
        )

    def forward(self, z):
        return self.layers(torch.cat([torch.sin(z), torch.cos(z)], dim=1))


settings: dict = {"scaling": None, "learning_rate": 3e-3, "random_state": 0}
circular = AutoencoderTransformer(1, architecture=Custom(ToAngle, FromAngle), **settings).fit(X)
plain = AutoencoderTransformer(1, **settings).fit(X)

# %%
# How far is a point from where its code puts it?

X_new = np.column_stack([np.cos(angle), np.sin(angle), 0.6 * np.sin(2 * angle)])
models = {"code on a line": plain, "code on a circle": circular}
for name, model in models.items():
    distance = np.linalg.norm(model.reconstruct(X_new) - X_new, axis=1)
    print(f"{name:18} distance: mean {distance.mean():.3f}, largest {distance.max():.3f}")

# %%
fig = plt.figure(figsize=(9, 4.2), layout="constrained")
for position, (name, model) in enumerate(models.items(), start=1):
    ax = fig.add_subplot(1, 2, position, projection="3d")
    Z = model.transform(X)
    curve = model.inverse_transform(np.linspace(Z.min(), Z.max(), 400)[:, None])
    ax.scatter(
        *X.T, c=Z[:, 0], cmap="twilight" if model is circular else "viridis", s=6, alpha=0.6
    )
    ax.plot(*curve.T, color="k", lw=2)
    ax.set(title=name, xticks=[], yticks=[], zticks=[])
plt.show()

# %%
# **What this run showed.** The code on a circle described every point of the curve well. The
# code on a line was good on average but had to cut the curve somewhere: points near the cut are
# put far from where they are. The network that knows the shape of the data needed some twenty
# lines.

"""
Write a part of your own
========================

A corruption, a latent and an architecture that are not in the package, each in a few lines. They
have parameters, so a search finds them, and they combine with all other parts.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, train_test_split
from torch import nn
from torch.nn import functional as F

from sklearn_ae import AutoencoderTransformer
from sklearn_ae.architectures import Architecture
from sklearn_ae.corruptions import Corruption
from sklearn_ae.latents import Latent

# %%
# **A corruption** changes a batch and returns one of the same shape. This one hides a square
# patch of an image.


class HiddenPatch(Corruption):
    """Set a square patch at a random place to zero.

    Parameters
    ----------
    shape : (height, width) of the images
    size : int
        Side of the patch.
    """

    def __init__(self, shape, size=3):
        self.shape = shape
        self.size = size

    def corrupt(self, x):
        height, width = self.shape
        n, size = len(x), self.size
        rows, columns = torch.arange(height), torch.arange(width)
        top = torch.randint(height - size + 1, (n, 1))
        left = torch.randint(width - size + 1, (n, 1))
        in_rows = (rows >= top) & (rows < top + size)
        in_columns = (columns >= left) & (columns < left + size)
        hidden = in_rows[:, :, None] & in_columns[:, None, :]  # (n, height, width)
        return x.masked_fill(hidden.flatten(1).to(x.device), 0.0)


# %%
# **A latent** says what the code is and what it costs: one number for each row, or None. This
# one puts codes on a sphere.


class OnSphere(Latent):
    """A code of length 1, and a cost for codes that crowd together.

    Parameters
    ----------
    alpha : float
        Weight of the cost.
    """

    def __init__(self, alpha=0.0):
        self.alpha = alpha

    def code(self, h, sample):
        return F.normalize(h)

    def cost(self, h, x, encoder):
        z = F.normalize(h)
        # the more a code points where all do, the more it costs
        return self.alpha * (z @ z.mean(0))


# %%
# **An architecture** builds two modules. This one shares the weights of encoder and decoder. For
# a fixed pair of modules, ``Custom`` does without a class.


class Tied(Architecture):
    """One hidden layer; the decoder uses the encoder's weights, transposed.

    Parameters
    ----------
    width : int
        Units of the hidden layer.
    """

    def __init__(self, width=128):
        self.width = width

    def build(self, n_features, n_outputs, n_components):
        encoder = nn.Sequential(
            nn.Linear(n_features, self.width), nn.Tanh(), nn.Linear(self.width, n_outputs)
        )
        return encoder, TiedDecoder(encoder, n_features)


class TiedDecoder(nn.Module):
    def __init__(self, encoder, n_features):
        super().__init__()
        self.first, self.last = encoder[0], encoder[2]
        self.hidden_bias = nn.Parameter(torch.zeros(self.first.out_features))
        self.bias = nn.Parameter(torch.zeros(n_features))

    def forward(self, z):
        h = torch.tanh(F.linear(z, self.last.weight.T, self.hidden_bias))
        return F.linear(h, self.first.weight.T, self.bias)


# %%
# **A loss** is a module that gives one number for each entry. This one makes ink that is left
# out cost more than ink that is added.


class Asymmetric(nn.Module):
    def __init__(self, weight=2.0):
        super().__init__()
        self.weight = weight

    def forward(self, raw, x):
        return torch.where(raw < x, self.weight, 1.0) * (raw - x) ** 2


# %%
# The parts can be cloned, printed, searched and combined.

X, _ = load_digits(return_X_y=True)
X_train, X_test = train_test_split(X / 16, random_state=0)

print(clone(AutoencoderTransformer(3, latent=OnSphere(0.1), corruption=HiddenPatch((8, 8)))))

model = AutoencoderTransformer(
    4, architecture=Tied(), scaling=None, validation_fraction=0.1, max_epochs=60, random_state=0
)
search = GridSearchCV(model, {"architecture__width": [32, 256]}, cv=2).fit(X_train)
print(
    f"best width: {search.best_params_['architecture__width']}, error of held-out digits {-search.score(X_test):.4f}"
)

shared: dict = {"architecture": Tied(256), "scaling": None, "max_epochs": 60, "random_state": 0}
losses: dict = {"squared_error": "squared_error", "Asymmetric": Asymmetric(4.0)}
for name, loss in losses.items():
    model = AutoencoderTransformer(4, corruption=HiddenPatch((8, 8), 2), loss=loss, **shared).fit(
        X_train
    )
    ink = model.reconstruct(X_test).mean() / X_test.mean() - 1
    print(f"ink of decoded digits with {name}: {ink:+.1%}")

# %%
# What does the hidden patch teach? Patches of new images are hidden, and filled in.

inpaint = AutoencoderTransformer(
    32, corruption=HiddenPatch((8, 8), 4), scaling=None, random_state=0
).fit(X_train)
plain = AutoencoderTransformer(32, scaling=None, random_state=0).fit(X_train)
damaged = X_test.reshape(-1, 8, 8).copy()
damaged[:, 2:6, 2:6] = 0
damaged = damaged.reshape(X_test.shape)
square = np.zeros((8, 8), bool)
square[2:6, 2:6] = True
hidden = square.ravel()

rows = {
    "damaged": damaged,
    "plain": plain.reconstruct(damaged),
    "HiddenPatch": inpaint.reconstruct(damaged),
    "whole": X_test,
}
for name, images in rows.items():
    print(f"{name:12} squared error in the patch {((images - X_test)[:, hidden] ** 2).mean():.4f}")

fig, axes = plt.subplots(4, 10, figsize=(9, 4), layout="constrained")
for row, (name, images) in zip(axes, rows.items(), strict=True):
    for ax, image in zip(row, images, strict=False):
        ax.imshow(image.reshape(8, 8), cmap="gray_r", vmin=0, vmax=1)
        ax.set(xticks=[], yticks=[])
    row[0].set_ylabel(name, rotation=0, ha="right", va="center")
plt.show()

# %%
# **What this run showed.** The network that was trained with hidden patches filled them with
# about a seventh of the error of the plain one, which takes the patch for content. The
# asymmetric loss gave more ink, as it should. Each part took one class and one or two methods.

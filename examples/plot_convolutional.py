"""
Compress a photograph
=====================

A photograph is cut into tiles of 8 x 8 pixels. Each tile of 192 numbers is compressed to a few, and the photograph is put together
again from the decoded tiles.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_sample_image
from sklearn.decomposition import PCA

from sklearn_ae import AutoencoderTransformer
from sklearn_ae.architectures import Convolutional

# %%
# The left half of the photograph is for training, the right half is what the figures below are about. ``Convolutional`` wants the
# channels first, as torch does, and flat rows, as scikit-learn does.

SIDE = 8
photograph = load_sample_image("china.jpg")[:424, :640] / 255


def cut(image):
    """Tiles of an image (height, width, 3) as rows, each of 3 x 8 x 8 numbers."""
    height, width = (side // SIDE for side in image.shape[:2])
    tiles = image.reshape(height, SIDE, width, SIDE, 3).transpose(0, 2, 4, 1, 3)
    return tiles.reshape(height * width, -1)


def join(tiles, shape):
    height, width = (side // SIDE for side in shape[:2])
    return tiles.reshape(height, width, 3, SIDE, SIDE).transpose(0, 3, 1, 4, 2).reshape(shape)


left, right = photograph[:, :320], photograph[:, 320:]
X_train, X_test = cut(left), cut(right)

# %%
# Pixels share a unit, so they are not scaled. Six numbers for a tile.

k = 6
models = {
    f"PCA({k})": PCA(k),
    "Dense": AutoencoderTransformer(k, scaling=None, random_state=0),
    "Convolutional": AutoencoderTransformer(
        k, architecture=Convolutional((3, SIDE, SIDE), channels=(16, 32)), scaling=None, max_epochs=40, random_state=0
    ),
}
images, psnr = {"right half": right}, {}
for name, model in models.items():
    Z = model.fit(X_train).transform(X_test)
    decoded = np.clip(model.inverse_transform(Z), 0, 1)
    images[name] = join(decoded, right.shape)
    psnr[name] = -10 * np.log10(((decoded - X_test) ** 2).mean())
    print(f"{name:14} {X_test.shape[1]} -> {Z.shape[1]} numbers, {psnr[name]:.2f} dB")

# %%
fig, axes = plt.subplots(1, 4, figsize=(12, 4.6), layout="constrained")
for ax, (name, image) in zip(axes, images.items(), strict=True):
    ax.imshow(image[100:360, 20:220])
    ax.set(title=f"{name}\n{psnr[name]:.2f} dB" if name in psnr else name, xticks=[], yticks=[])
plt.show()

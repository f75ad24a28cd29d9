"""Draw the pictures of the README and of the first page: ``python docs/picture.py`` writes
picture.png, eight_numbers.png and alarm.png into docs/_static in half a minute.
"""

from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.decomposition import PCA
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split

from sklearn_ae import AutoencoderOutlierDetector, AutoencoderTransformer
from sklearn_ae.inspection import FeatureContributionDisplay

mpl.use("agg")
plt.rcParams["font.size"] = 9
COLORS = plt.get_cmap("tab10").colors

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(
    X / 16, y, random_state=0
)
figure = plt.figure(figsize=(10, 3.1), layout="constrained")
codes, images, plane = figure.subfigures(1, 3, width_ratios=[1, 1.1, 1])

# Two numbers for each digit

ax = codes.subplots()
Z = (
    AutoencoderTransformer(2, scaling=None, random_state=0)
    .fit(X_train)
    .transform(X_test)
)
for digit in range(10):
    rows = y_test == digit
    ax.scatter(*Z[rows].T, s=6, color=COLORS[digit], linewidths=0)
    ax.text(
        *np.median(Z[rows], axis=0),
        digit,
        weight="bold",
        ha="center",
        va="center",
        bbox={"fc": "w", "ec": "none", "alpha": 0.7},
    )
ax.set(title="64 pixels as 2 numbers", xticks=[], yticks=[])

# Eight numbers, and back

model, pca = (
    AutoencoderTransformer(8, scaling=None, random_state=0).fit(X_train),
    PCA(8).fit(X_train),
)
backs = {
    "held out": X_test,
    "back from 8": model.reconstruct(X_test),
    "PCA's": pca.inverse_transform(pca.transform(X_test)),
}
ratio = ((backs["back from 8"] - X_test) ** 2).mean() / (
    (backs["PCA's"] - X_test) ** 2
).mean()


def draw_backs(figure, n_digits):
    axes = figure.subplots(3, n_digits)
    for row, (name, rows) in zip(axes, backs.items(), strict=True):
        for digit, ax in enumerate(row):
            index = np.flatnonzero(y_test == digit)[0]
            image = rows[index].reshape(8, 8)
            ax.imshow(image, cmap="gray_r", vmin=0, vmax=1)
            ax.set(xticks=[], yticks=[])
        row[0].set_ylabel(name, rotation=0, ha="right", va="center")
    figure.suptitle(
        f"8 numbers, and back: {ratio:.0%} of PCA's error",
        fontsize=plt.rcParams["axes.titlesize"],
    )


draw_backs(images, 6)
alone = plt.figure(figsize=(6, 2.3), layout="constrained")
draw_backs(alone, 9)

# Malignant tumours among benign ones, as in the quickstart

X, benign = load_breast_cancer(return_X_y=True)
rows = np.r_[np.flatnonzero(benign == 1), np.flatnonzero(benign == 0)[:30]]
X_train, X_new, _, is_benign = train_test_split(
    X[rows],
    benign[rows] == 1,
    test_size=0.4,
    stratify=benign[rows],
    random_state=0,
)
detector = AutoencoderOutlierDetector(random_state=0).fit(X_train)
scores = -detector.score_samples(X_new)
area = roc_auc_score(~is_benign, scores)
ax = plane.subplots()
bins = np.linspace(scores.min(), scores.max(), 25)
ax.hist(
    [scores[is_benign], scores[~is_benign]],
    bins,
    stacked=True,
    color=["#9ab8d6", "#d62728"],
    label=["benign", "malignant"],
)
ax.axvline(
    -detector.offset_,
    color="k",
    linestyle="--",
    linewidth=1,
    label="threshold",
)
ax.set(
    title=f"outliers without labels: AUC {area:.2f}",
    xlabel="outlyingness",
    ylabel="new tumours",
)
ax.legend(frameon=False)

# An alarm explained, as on the page "Get started"

X = load_breast_cancer(as_frame=True).data
detector = AutoencoderOutlierDetector(random_state=0).fit(X)
alarm, ax = plt.subplots(figsize=(6, 2.6), layout="constrained")
FeatureContributionDisplay.from_estimator(
    detector, X, 212, ax=ax, max_features=5
)

pictures = {"picture": figure, "eight_numbers": alone, "alarm": alarm}
for name, drawn in pictures.items():
    path = Path(__file__).parent / "_static" / f"{name}.png"
    drawn.savefig(path, dpi=110 if drawn is figure else 160)
    print(path, f"{path.stat().st_size / 1024:.0f} kB")

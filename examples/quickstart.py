"""
Quickstart
==========

Reduce, reconstruct, find outliers, and search a grid inside a pipeline, on data bundled with scikit-learn.
"""

import numpy as np
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_ae import AutoencoderOutlierDetector, AutoencoderTransformer
from sklearn_ae.latents import Sparse

# %%
# Reduce and reconstruct
# ----------------------
# Eight numbers for each digit of 64 pixels, and back.

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X / 16, y, random_state=0)

model = AutoencoderTransformer(8, random_state=0).fit(X_train)
pca = PCA(8).fit(X_train)


def error(reconstruction):
    return ((reconstruction - X_test) ** 2).mean()


ours, theirs = (
    error(model.reconstruct(X_test)),
    error(pca.inverse_transform(pca.transform(X_test))),
)
print("Reduce: 1,797 digits, 64 pixels -> 8 numbers -> 64 pixels")
print(
    f"  squared error on held-out digits: {ours:.4f}, PCA's {theirs:.4f} ({ours / theirs:.0%} of it)"
)

# %%
# Learn features
# --------------
# Inside a pipeline, with a grid search over the length and the kind of code.

pipeline = make_pipeline(
    AutoencoderTransformer(random_state=0, max_epochs=40),
    StandardScaler(),
    LogisticRegression(max_iter=1_000),
)
grid = {
    "autoencodertransformer__n_components": [2, 8],
    "autoencodertransformer__latent": [None, Sparse(1e-3)],
}
search = GridSearchCV(pipeline, grid, cv=3).fit(X_train, y_train)
baseline = make_pipeline(PCA(8), StandardScaler(), LogisticRegression(max_iter=1_000)).fit(
    X_train, y_train
)
best = {name.split("__")[1]: value for name, value in search.best_params_.items()}
print("Search: a grid of 4 codes, each before a logistic regression, 3 folds")
print(f"  best: {best}")
accuracy, pcas = search.score(X_test, y_test), baseline.score(X_test, y_test)
print(f"  accuracy on held-out digits: {accuracy:.3f}, with 8 components of PCA {pcas:.3f}")

# %%
# Find outliers
# -------------
# Malignant tumours among benign ones. The detector is not told which are which.

X, benign = load_breast_cancer(return_X_y=True)
names = load_breast_cancer().feature_names
rows = np.r_[np.flatnonzero(benign == 1), np.flatnonzero(benign == 0)[:30]]
malignant = benign[rows] == 0
X_train, X_new, _, malignant = train_test_split(
    X[rows], malignant, test_size=0.4, stratify=malignant, random_state=0
)

detector = AutoencoderOutlierDetector(random_state=0).fit(X_train)
outliers = detector.predict(X_new) == -1
print(
    f"Outliers: {len(X_new)} new tumours, {malignant.sum()} of them malignant, 30 features, no labels given"
)
print(
    f"  area under the ROC curve: {roc_auc_score(malignant, -detector.score_samples(X_new)):.3f}"
)
print(f"  called outliers: {outliers.sum()}, of which malignant: {(outliers & malignant).sum()}")

worst = detector.score_samples(X_new).argmin()
contributions = detector.feature_contributions(X_new[[worst]])[0]
top = ", ".join(
    f"{names[j]} ({contributions[j] / contributions.sum():.0%})"
    for j in np.argsort(-contributions)[:3]
)
print(
    f"  most unusual: tumour {worst} (p = {detector.p_values(X_new[[worst]])[0]:.3f}), for its {top}"
)

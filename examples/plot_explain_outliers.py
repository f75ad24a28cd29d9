"""
Which columns made this row an outlier
======================================

The outlyingness of a row is a sum over its columns. ``feature_contributions`` gives the terms of
the sum.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split

from sklearn_ae import AutoencoderOutlierDetector
from sklearn_ae.inspection import FeatureContributionDisplay

# %%
# Thirty malignant tumours are hidden among 357 benign ones. The detector gets no labels. Sixty
# per cent of the rows are used for training, the others are new.

data, target = load_breast_cancer(return_X_y=True, as_frame=True)
benign, malignant = data[target == 1], data[target == 0][:30]
X, y = pd.concat([benign, malignant], ignore_index=True), np.repeat([0, 1], [len(benign), 30])
X_train, X_new, _, y_new = train_test_split(X, y, test_size=0.4, stratify=y, random_state=0)

detector = AutoencoderOutlierDetector(random_state=0).fit(X_train)
forest = IsolationForest(random_state=0).fit(X_train)
scores = detector.score_samples(X_new)
alarms = detector.predict(X_new) == -1
print(f"area under the ROC curve: {roc_auc_score(y_new, -scores):.3f}, ", end="")
print(f"IsolationForest {roc_auc_score(y_new, -forest.score_samples(X_new)):.3f}")
print(
    f"alarms: {alarms.sum()}, malignant among them: {(y_new[alarms] == 1).sum()} of {y_new.sum()}"
)
assert 2 * y_new[alarms].sum() > alarms.sum()
assert 2 * y_new[alarms].sum() < y_new.sum()

# %%
# The contributions add up to the outlyingness, which is minus the score.

contributions = detector.feature_contributions(X_new)
print("adds up:", np.allclose(contributions.sum(axis=1), -scores, rtol=1e-4))

# %%
# Is an explanation right? A test with a known answer: in rows that are normal, one column is
# replaced by the value of another row far away in its rank. The column that was changed should
# come first.

rng = np.random.default_rng(0)
normal = X_new[(y_new == 0) & ~alarms]
changed = normal.copy()
columns = rng.integers(X.shape[1], size=len(normal))
for i, j in enumerate(columns):
    ranked = np.sort(X_train.iloc[:, j])
    changed.iloc[i, j] = ranked[3] if normal.iloc[i, j] > np.median(ranked) else ranked[-4]
order = np.argsort(-detector.feature_contributions(changed), axis=1)
place = (order == columns[:, None]).argmax(axis=1)
print(
    f"the changed column is first in {np.mean(place == 0):.0%}, among the first three in {np.mean(place < 3):.0%} of rows"
)

# %%
# The two most outlying tumours, and what made them so: the values that were seen and, in
# brackets, those of the reconstruction.

fig, axes = plt.subplots(2, 1, figsize=(8, 6.5), layout="constrained")
for ax, i in zip(axes, np.argsort(scores), strict=False):
    FeatureContributionDisplay.from_estimator(detector, X_new, i, ax=ax, max_features=6)
    print(f"row {X_new.index[i]} is {'malignant' if y_new[i] else 'benign'}")
plt.show()

assert np.mean(place == 0) > 0.5

# %%
# **What this run showed.** The ranking was a little behind IsolationForest's. Few rows were called
# outliers, and most of them were malignant. Most malignant tumours were not found, since many of them
# are not unusual. Where the answer was known, the changed column came first in most rows.
# Contributions say in which columns a row differs from its reconstruction; they do not say why.

"""
Look inside an autoencoder
==========================

The displays of ``sklearn_ae.inspection`` draw what a fitted estimator has learnt, one line each.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from sklearn_ae import AutoencoderOutlierDetector, AutoencoderTransformer
from sklearn_ae.inspection import (
    LatentSpaceDisplay,
    LatentTraversalDisplay,
    LossCurveDisplay,
    OutlierScoreDisplay,
    ReconstructionDisplay,
)

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X / 16, y, random_state=0)
model = AutoencoderTransformer(2, scaling=None, random_state=0).fit(X_train)

# %%
# **Has training converged? Does it overfit?** The epoch whose weights were kept is marked.

LossCurveDisplay.from_estimator(model)
plt.show()

# %%
# **Where do rows lie in the code?** Two components are one picture, more are all pairs.

LatentSpaceDisplay.from_estimator(model, X_test, y_test, target_name="digit", s=12)
plt.show()

# %%
# **What does each component do?** From the mean code one component is moved, or two together.

LatentTraversalDisplay.from_estimator(model, X_train, plane=True, span=1, image_shape=(8, 8))
plt.show()

# %%
# **What comes back, and what is lost?** Of images that were not trained on.

ReconstructionDisplay.from_estimator(model, X_test, image_shape=(8, 8))
plt.show()

# %%
# **Where does the threshold of a detector lie, and are its p-values right?** It is trained on
# zeros only, all of them to be trusted (``novelty=True``). The p-values of new zeros should be near the diagonal.

detector = AutoencoderOutlierDetector(novelty=True, random_state=0).fit(X_train[y_train == 0])
OutlierScoreDisplay.from_estimator(detector, X_test[y_test == 0])
plt.show()

# %%
# With labels, each class has a histogram of its own.

zeros_and_sixes = np.isin(y_test, [0, 6])
OutlierScoreDisplay.from_estimator(
    detector, X_test[zeros_and_sixes], y_test[zeros_and_sixes], p_values=False
)
plt.show()
called = detector.predict(X_test) == -1
for digit in 0, 6:
    print(
        f"{digit}: {called[y_test == digit].sum()} of {(y_test == digit).sum()} are called outliers"
    )
assert called[y_test == 6].all()

# %%
# **What this run showed.** Training had converged, and the epoch that was kept is well before
# the end: later ones overfit slightly. The code of two numbers separates zeros, twos, fours and
# sixes, and crowds the other digits in the middle. What is lost are strokes that two numbers
# cannot tell. The p-values of new zeros were about uniform. Few new zeros were beyond the threshold,
# and all sixes were.

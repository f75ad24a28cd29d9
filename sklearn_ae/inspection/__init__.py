"""Pictures of an autoencoder: scikit-learn's Displays.

Each has ``from_estimator``, which computes and plots. Some have ``from_predictions``, which plots
what is already computed. A display keeps plain arrays as attributes, and ``plot`` draws them again,
on axes of your own if you pass ``ax``. What was drawn is in ``figure_``, ``axes_`` (all panels) and
``ax_`` (the first of them).

Estimators may be the last step of a Pipeline, or the best of a search. matplotlib is needed:
``pip install sklearn-ae[plot]``. In a script, call ``matplotlib.pyplot.show()`` at the end.

============================ =================================================
`LossCurveDisplay`           Has training converged? Does it overfit?
`LatentSpaceDisplay`         Where do rows lie in the code?
`LatentTraversalDisplay`     What does each component of the code do?
`ReconstructionDisplay`      What comes back, and what is lost?
`ExplainedVarianceDisplay`   How long must the code be? Is it better than PCA?
`OutlierScoreDisplay`        Where does the threshold lie? Are p-values right?
`FeatureContributionDisplay` Which columns made this row an outlier?
============================ =================================================
"""

from sklearn_ae.inspection._explained_variance import ExplainedVarianceDisplay
from sklearn_ae.inspection._feature_contribution import FeatureContributionDisplay
from sklearn_ae.inspection._latent_space import LatentSpaceDisplay
from sklearn_ae.inspection._latent_traversal import LatentTraversalDisplay
from sklearn_ae.inspection._loss_curve import LossCurveDisplay
from sklearn_ae.inspection._outlier_score import OutlierScoreDisplay
from sklearn_ae.inspection._reconstruction import ReconstructionDisplay

__all__ = [
    "ExplainedVarianceDisplay",
    "FeatureContributionDisplay",
    "LatentSpaceDisplay",
    "LatentTraversalDisplay",
    "LossCurveDisplay",
    "OutlierScoreDisplay",
    "ReconstructionDisplay",
]

"""How rows are scored: by one autoencoder, by an ensemble, or by comparison with clean rows.

A score is one class. It says which network it needs, which rows train it, and how far a row lies
from what is usual. A new score is one file here and one row of `SCORES`.
"""

from sklearn_ae._scores.ensemble import Ensemble
from sklearn_ae._scores.novelty import Novelty
from sklearn_ae._scores.single import Single

SCORES: dict[str, type[Single]] = {"single": Single, "ensemble": Ensemble, "novelty": Novelty}

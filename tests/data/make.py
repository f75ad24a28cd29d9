"""Writes the files of this release; run once per release: ``python tests/data/make.py``. Files of earlier releases stay."""

import json
import pickle
from pathlib import Path

import numpy as np

from sklearn_ae import AutoencoderOutlierDetector, AutoencoderTransformer, __version__
from sklearn_ae.architectures import Dense
from sklearn_ae.latents import Variational
from sklearn_ae.persistence import save

FOLDER = Path(__file__).parent


def main() -> None:
    X = np.random.default_rng(0).normal(size=(60, 4)) @ np.diag([1, 2, 3, 4])
    rows = np.linspace(-1, 1, 40).reshape(10, 4) ** 3
    models = {
        "transformer": AutoencoderTransformer(2, architecture=Dense((4,)), latent=Variational(), random_state=0),
        "detector": AutoencoderOutlierDetector(n_estimators=4, random_state=0),
    }
    for name, model in models.items():
        model.fit(X)
        save(model, FOLDER / f"{name}_{__version__}.safetensors")
        (FOLDER / f"{name}_{__version__}.pickle").write_bytes(pickle.dumps(model, protocol=4))
        expected = {"scores": model.score_samples(rows).tolist(), "codes": model.transform(rows).tolist()}
        (FOLDER / f"{name}_{__version__}.json").write_text(json.dumps(expected))


if __name__ == "__main__":
    main()

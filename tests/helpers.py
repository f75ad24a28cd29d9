"""One of every part, and short trainings."""

from torch import nn

from sklearn_ae import architectures, corruptions, latents

QUICK = {"max_epochs": 3, "random_state": 0}


class Encoder(nn.Sequential):
    def __init__(self, n_features, n_outputs):
        super().__init__(nn.Linear(n_features, 7), nn.Tanh(), nn.Linear(7, n_outputs))


class Decoder(nn.Sequential):
    def __init__(self, n_components, n_features):
        super().__init__(nn.Linear(n_components, 7), nn.Tanh(), nn.Linear(7, n_features))


# A new part without an entry here fails test_composition before its author remembers the tests.
ARCHITECTURES = {
    "Dense": lambda n: architectures.Dense((8,)),
    "Convolutional": lambda n: architectures.Convolutional((1, n), channels=(2,)),
    "Custom": lambda n: architectures.Custom(Encoder, Decoder),
}
CORRUPTIONS = {
    "GaussianNoise": corruptions.GaussianNoise,
    "Masking": corruptions.Masking,
    "SaltAndPepper": corruptions.SaltAndPepper,
}
LATENTS = {
    "Contractive": latents.Contractive,
    "Sparse": latents.Sparse,
    "Variational": latents.Variational,
}

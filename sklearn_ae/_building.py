"""How a network is built from parts, checked, started, and for how long it is trained by default."""

import numpy as np
import torch
from torch import Tensor, nn

from sklearn_ae._module import Autoencoder
from sklearn_ae.architectures import Architecture

FEWEST_EPOCHS, MOST_EPOCHS = 5, 200
WIDE = 128  # features from which on learning rate and steps are lowered


def build_autoencoder(spec: dict, n_features: int) -> Autoencoder:
    """One autoencoder of a spec, its parts' sizes checked."""
    n_components = spec["n_components"]
    n_outputs = spec["latent"].n_outputs(n_components)
    encoder, decoder = spec["architecture"].build(n_features, n_outputs, n_components)
    check_output(spec["architecture"], "encoder", encoder, n_features, n_outputs)
    check_output(spec["architecture"], "decoder", decoder, n_components, n_features)
    return Autoencoder(encoder, decoder, spec["latent"], spec["loss"], spec["corruption"])


def check_output(architecture: Architecture, name: str, module: nn.Module, n_inputs: int, n_outputs: int) -> None:
    """Try a module on two rows, so that sizes that do not fit are told here and not from deep within."""
    was_training = module.training
    message = f"The {name} of {type(architecture).__name__} must take (n_samples, {n_inputs}) and give (n_samples, {n_outputs})"
    try:
        with torch.no_grad():
            shape = tuple(module.eval()(torch.zeros(2, n_inputs)).shape)
    except RuntimeError as error:
        raise ValueError(f"{message}, but it failed on two rows: {error}") from error
    finally:
        module.train(was_training)
    if shape != (2, n_outputs):
        raise ValueError(f"{message}, but it gave {('n_samples', *shape[1:])} from ('n_samples', {n_inputs}).".replace("'", ""))


def load_state(module: nn.Module, weights: dict[str, Tensor]) -> None:
    try:
        module.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(f"warm_start=True needs the same data shape and architecture as the last fit: {error}") from error


def start(module: Autoencoder, spec: dict, x: Tensor) -> None:
    """Set starting weights from scaled rows, as the architecture does."""
    architecture, latent, loss = spec["architecture"], spec["latent"], spec["loss"]
    module.to(x.device)
    architecture.start(module.encoder, module.decoder, x, loss.unlink(x), spec["n_components"], latent.stochastic)


def width_factor(n_features: int) -> float:
    """What learning rate and steps are multiplied with: wide layers sum more gradients, and take longer."""
    return min(1.0, (WIDE / n_features) ** 0.5)


def auto_epochs(n_steps: float, n: int, batch_size: int) -> int:
    """How many epochs make that many steps, within bounds."""
    return int(np.clip(np.ceil(n_steps * batch_size / n), FEWEST_EPOCHS, MOST_EPOCHS))

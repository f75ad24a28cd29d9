"""How a network is built from parts, checked, started, and for how long it is trained by default."""

import numpy as np
import torch
from torch import Tensor, nn

from sklearn_ae._module import Autoencoder
from sklearn_ae._rows import ArrayRows
from sklearn_ae.architectures import Architecture

FEWEST_EPOCHS, ENOUGH_EPOCHS, MOST_EPOCHS = 2, 30, 200
SAME = ("n_features", "n_components", "architecture", "latent", "loss_name", "scaling", "n_estimators")
WIDE = 256  # features from which on learning rate and steps are lowered


def build_autoencoder(spec: dict, n_features: int) -> Autoencoder:
    """One autoencoder of a spec, its parts' sizes checked."""
    n_components = spec["n_components"]
    n_outputs = spec["latent"].n_outputs(n_components)
    encoder, decoder = (half.float() for half in spec["architecture"].build(n_features, n_outputs, n_components))
    check_output(spec["architecture"], "encoder", encoder, n_features, n_outputs)
    check_output(spec["architecture"], "decoder", decoder, n_components, n_features)
    if not any(p.requires_grad for half in (encoder, decoder) for p in half.parameters()):
        raise ValueError(f"{type(spec['architecture']).__name__} has no parameters to train.")
    return Autoencoder(encoder, decoder, spec["latent"], spec["loss"], spec["corruption"])


def check_output(architecture: Architecture, name: str, module: nn.Module, n_inputs: int, n_outputs: int) -> None:
    """Try a module on two rows, so that sizes that do not fit are told here and not from deep within."""
    was_training = module.training
    message = f"The {name} of {type(architecture).__name__} must take (n_samples, {n_inputs}) and give (n_samples, {n_outputs})"
    try:
        with torch.no_grad():
            result = module.eval()(torch.zeros(2, n_inputs))
            shape = tuple(result.shape) if isinstance(result, Tensor) else type(result).__name__
    except Exception as error:  # whatever a user's module raises
        raise ValueError(f"{message}, but it failed on two rows: {error}") from error
    finally:
        module.train(was_training)
    if isinstance(shape, str):
        raise ValueError(f"{message}, but it gave a {shape}.")
    if shape != (2, n_outputs):
        raise ValueError(f"{message}, but it gave {('n_samples', *shape[1:])} from ('n_samples', {n_inputs}).".replace("'", ""))


def check_same(before: dict, now: dict) -> None:
    """Raise ValueError if a warm start would go on with another kind of network or data than the last fit's."""
    for name in SAME:
        a, b = before.get(name), now.get(name)
        if str(a) != str(b):
            raise ValueError(f"warm_start=True goes on from the last fit, but {name} was {a} and is {b}.")


def start(module: Autoencoder, spec: dict, rows: ArrayRows, positions: Tensor) -> None:
    """Set starting weights from the rows at some positions, as the architecture does."""

    def data() -> tuple[Tensor, Tensor]:
        x = rows.take(positions)
        return x, spec["loss"].unlink(x)

    module.to(rows.device)
    spec["architecture"].start(module.encoder, module.decoder, data, spec["n_components"], spec["latent"].stochastic)


def width_factor(n_features: int) -> float:
    """What learning rate and steps are multiplied with: wide layers sum more gradients, and take longer."""
    return min(1.0, (WIDE / n_features) ** 0.5)


def auto_epochs(n_steps: int, n: int, batch_size: int, factor: float = 1.0) -> int:
    """How many epochs make that many steps, within bounds; `factor` of them, but not under 30 for it."""
    n_epochs = n_steps * batch_size / n
    n_epochs = max(factor * n_epochs, min(n_epochs, ENOUGH_EPOCHS))
    return int(np.clip(np.ceil(n_epochs), FEWEST_EPOCHS, MOST_EPOCHS))

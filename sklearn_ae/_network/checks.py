"""Modules that users hand over, tried before they are trained."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from sklearn_ae._data.members import Members
from sklearn_ae._data.sources import Scaled
from sklearn_ae.architectures import Architecture


def check_output(
    architecture: Architecture, name: str, module: nn.Module, n_inputs: int, n_outputs: int
) -> None:
    """Try a module on two rows, so that sizes that do not fit are reported with the part's name."""
    message = (
        f"The {name} of {type(architecture).__name__} must take (n_samples, {n_inputs}) and give "
        f"(n_samples, {n_outputs})"
    )
    try:
        with torch.no_grad():
            result = module.eval()(torch.zeros(2, n_inputs))
            shape = tuple(result.shape) if isinstance(result, Tensor) else type(result).__name__
    except Exception as error:  # whatever a user's module raises
        raise ValueError(f"{message}, but it failed on two rows: {error}") from error
    if isinstance(shape, str):
        raise ValueError(f"{message}, but it gave a {shape}.")
    if shape != (2, n_outputs):
        raise ValueError(
            f"{message}, but it gave {('n_samples', *shape[1:])} from ('n_samples', "
            f"{n_inputs}).".replace("'", "")
        )


def check_rows_apart(
    architecture: Architecture, name: str, module: nn.Module, n_inputs: int
) -> None:
    """Refuse a module that, outside of training, gives a row another result when another row stands
    beside it.

    Scores would depend on what else is scored, and on the zeros with which the last rows are filled
    up.
    """
    whose = f"The {name} of {type(architecture).__name__}"
    for path, one in module.named_modules():
        if isinstance(one, nn.modules.batchnorm._BatchNorm) and one.running_mean is None:
            raise ValueError(
                f"{whose} has {f'{path}: ' if path else ''}{one!r}, by which a row's result "
                "depends on the rows beside it. Use track_running_stats=True, its default, or "
                "nn.LayerNorm."
            )
    if architecture.accepts_strided_input:
        return
    rows = torch.zeros(2, n_inputs)
    others = torch.cat([rows[:1], torch.linspace(0.5, 1.5, n_inputs)[None]])
    try:
        with torch.no_grad():
            alike, again, beside = (
                module.eval()(x.clone())[0].float() for x in (rows, rows, others)
            )
    except Exception:  # a module that takes some values only
        return
    if torch.equal(alike, again) and not torch.allclose(
        alike, beside, rtol=1e-3, atol=1e-5, equal_nan=True
    ):
        raise ValueError(
            f"{whose} gives a row another result when another row stands beside it, so scores "
            "would depend on what else is scored. A row's result may depend on its own values "
            "only: mind sums, means and attention over the first axis, which is rows."
        )


def check_batch_norm(module: nn.Module, train: Scaled | Members, batch_size: int) -> None:
    """Refuse batches of one row where batch normalisation has nothing else to compare it with.

    Raises
    ------
    ValueError
        With the layer's name and the ways out.
    """
    norms = [
        (path, one)
        for path, one in module.named_modules()
        if isinstance(one, nn.modules.batchnorm._BatchNorm)
    ]
    if batch_size > 1 or not norms:
        return
    with kept_buffers(module), torch.no_grad():
        try:
            module.train()(train.take(slice(0, 1)).x)
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            path, norm = norms[0]
            raise ValueError(
                f"batch_size=1 is too small for batch normalisation ({path}: {norm!r}), which "
                "compares the rows of a "
                f"batch{'; there is but one training row' if train.n_rows == 1 else ''}. Use a "
                "batch_size of at least 2, or layer normalisation: Dense(normalization='layer'), "
                "nn.LayerNorm."
            ) from error


@contextmanager
def kept_buffers(module: nn.Module) -> Iterator[None]:
    """Put a module's mode and its buffers back as they were, whether it changes those in place or
    by assignment.
    """
    modes = [(one, one.training) for one in module.modules()]
    buffers = [
        (one, name, buffer)
        for one, _ in modes
        for name, buffer in one._buffers.items()
        if buffer is not None
    ]
    before = [(*place, place[-1].clone()) for place in buffers]
    try:
        yield
    finally:
        for one, training in modes:
            one.training = training
        with torch.no_grad():
            for one, name, buffer, values in before:
                one._buffers[name] = buffer.copy_(values)

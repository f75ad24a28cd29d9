"""What makes a part of an autoencoder settable, validatable and printable."""

import copy
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from sklearn.base import BaseEstimator
from torch import Tensor, nn

from sklearn_ae._messages import nearest, validate_params
from sklearn_ae._torch import plain_torch

# Where a notebook finds a class described; scikit-learn shows descriptions of parameters only where
# there is such a link.
DOCUMENTATION = (
    "https://sklearn-ae.readthedocs.io/en/stable/generated/{estimator_module}.{estimator_name}.html"
)


class PlainTensor:
    """What stands for a tensor where a part is pickled: torch's own pickles hold addresses, so that
    no two of them are equal.
    """

    def __init__(self, tensor: Tensor):
        self.array = tensor.detach().cpu().numpy()
        self.kind = type(tensor)
        self.requires_grad = tensor.requires_grad

    def tensor(self) -> Tensor:
        tensor = torch.from_numpy(self.array.copy())
        return nn.Parameter(tensor, self.requires_grad) if self.kind is nn.Parameter else tensor


def with_plain_tensors(state: dict) -> dict:
    """A part's state with arrays in the place of its modules' tensors; as it is where there are
    none, or of unknown kinds.
    """
    modules = [
        module
        for value in state.values()
        if isinstance(value, nn.Module)
        for module in value.modules()
    ]
    tensors = [
        one
        for module in modules
        for one in [*module._parameters.values(), *module._buffers.values()]
        if one is not None
    ]
    if not tensors or any(type(one) not in (Tensor, nn.Parameter) for one in tensors):
        return state
    try:
        plain = {id(one): PlainTensor(one) for one in tensors}
        return copy.deepcopy(state, dict(plain)) | {"_plain_tensors": list(plain.values())}
    # a type that numpy lacks, or a module that cannot be copied without its tensors
    except Exception:
        return state


def with_real_tensors(state: dict) -> dict:
    """The state that ``with_plain_tensors`` was given."""
    state = dict(state)
    plain = state.pop("_plain_tensors", None)
    return (
        state if plain is None else copy.deepcopy(state, {id(one): one.tensor() for one in plain})
    )


class Part(BaseEstimator):
    """A choice that has parameters, for one slot of an autoencoder.

    Being a :class:`~sklearn.base.BaseEstimator`, a part can be cloned, printed and searched
    (``latent__beta``). Its ``__init__`` only assigns; the ranges in ``_parameter_constraints``
    are checked when the autoencoder is fitted.

    Attributes
    ----------
    slot : str
        The parameter of the autoencoder that takes such parts.
    """

    slot: str
    _parameter_constraints: dict = {}
    _doc_link_module = "sklearn_ae"
    _doc_link_template = DOCUMENTATION

    def __getstate__(self):
        return with_plain_tensors(super().__getstate__())

    def __setstate__(self, state):
        with plain_torch():
            super().__setstate__(with_real_tensors(state))

    def validate(self) -> None:
        """Check the part's own parameters.

        Raises
        ------
        sklearn.utils._param_validation.InvalidParameterError
            If a parameter has the wrong type or lies outside its range (a ``ValueError``).
        """
        validate_params(self)


def validate_slot(name: str, part, base: type[Part], *, function: bool = False) -> None:
    """Check that `part` may stand in the slot `name`, which takes instances of `base`.

    Raises
    ------
    TypeError
        If `part` is a class, a part of another slot, or no part at all.
    ValueError
        If a parameter of the part is out of its range.
    """
    if isinstance(part, base):
        part.validate()
        return
    if part is None or (function and callable(part) and not isinstance(part, (type, Part))):
        return
    if isinstance(part, Part):
        raise TypeError(f"{name}={part!r} is in the wrong slot; pass it as {part.slot}={part!r}.")
    if isinstance(part, type) and issubclass(part, Part):
        raise TypeError(
            f"{name} takes an instance, not the class {part.__name__}: pass "
            f"{name}={part.__name__}(...)."
        )
    known = sorted(parts_of(base))
    meant = nearest(part, known) if isinstance(part, str) else None
    raise TypeError(
        f"{name} must be None or one of sklearn_ae.{name_of_file(base)} ({', '.join(known)}), got "
        f"{part!r}." + (f" Did you mean {name}={meant}(...)?" if meant else "")
    )


def parts_of(base: type[Part]) -> dict[str, type[Part]]:
    """The parts of this package for the slot of `base`, by name."""
    file = sys.modules[base.__module__]
    return {name: getattr(file, name) for name in file.__all__}


def name_of_file(base: type) -> str:
    """The public file of the parts that derive from `base`."""
    return base.__module__.rpartition(".")[2]


@contextmanager
def all_or_nothing(estimator: BaseEstimator) -> Iterator[None]:
    """Whatever goes wrong inside the block, Ctrl-C included, the estimator is left as it was."""
    before = estimator.__dict__.copy()
    try:
        yield
    except BaseException:
        estimator.__dict__.clear()
        estimator.__dict__.update(before)
        raise

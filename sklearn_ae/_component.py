"""What makes a part of an autoencoder settable, validatable and printable."""

import sys

from sklearn.base import BaseEstimator


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

    def validate(self) -> None:
        """Check the part's own parameters.

        Raises
        ------
        sklearn.utils._param_validation.InvalidParameterError
            If a parameter has the wrong type or lies outside its range (a ``ValueError``).
        """
        self._validate_params()


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
        raise TypeError(f"{name} takes an instance, not a class: pass {part.__name__}(...).")
    known = ", ".join(sorted(parts_of(base)))
    raise TypeError(f"{name} must be None or one of sklearn_ae.{name_of_file(base)} ({known}), got {part!r}.")


def parts_of(base: type[Part]) -> dict[str, type[Part]]:
    """The parts of this package for the slot of `base`, by name."""
    file = sys.modules[base.__module__]
    return {name: getattr(file, name) for name in file.__all__}


def name_of_file(base: type) -> str:
    """The public file of the parts that derive from `base`."""
    return base.__module__.rpartition(".")[2]

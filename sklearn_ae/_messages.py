"""What messages have in common: warnings at the caller's line, and errors that name what was
probably meant.
"""

import difflib
import sys
import warnings
from collections.abc import Iterable

from sklearn.base import BaseEstimator
from sklearn.utils._param_validation import InvalidParameterError, StrOptions, make_constraint

# whose lines are not the caller's
LIBRARIES = {
    "sklearn_ae",
    "sklearn",
    "skorch",
    "torch",
    "joblib",
    "contextlib",
}
OTHER_NAMES = {  # of values and parameters, as other libraries say
    "squared_error": "mse l2 gaussian",
    "absolute_error": "mae l1 laplace",
    "huber": "smooth_l1",
    "binary_cross_entropy": "bce log_loss bernoulli",
    "standard": "zscore minmax",
    "plateau": "reduce_on_plateau adaptive",
    "Dense": "mlp linear feedforward",
    "Convolutional": "cnn conv",
    "GaussianNoise": "noise",
    "Masking": "dropout",
    "Sparse": "l1",
    "Variational": "vae",
    "Contractive": "cae",
    "n_components": "latent_dim encoding_dim code_size n_latent",
    "hidden_layer_sizes": "hidden_dims hidden_units hidden_neuron_list layers",
    "loss": "criterion",
    "learning_rate": "lr learning_rate_init",
    "learning_rate_schedule": "lr_scheduler",
    "max_epochs": "epochs n_epochs num_epochs epoch_num max_iter",
    "validation_fraction": "validation_split",
    "n_iter_no_change": "patience",
    "random_state": "seed",
}


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn at the innermost line that is not in one of the libraries on the way here."""
    frame, depth = sys._getframe(1), 2
    while (
        frame.f_back is not None
        and frame.f_globals.get("__name__", "").partition(".")[0] in LIBRARIES
    ):
        frame, depth = frame.f_back, depth + 1
    warnings.warn(message, category, stacklevel=depth)


def nearest(name: str, allowed: Iterable[str]) -> str | None:
    """The allowed name that is most like `name`, or is called so in other libraries; None if there
    is none.
    """
    names = {
        plain(word): one for one in allowed for word in [*OTHER_NAMES.get(one, "").split(), one]
    }
    found = difflib.get_close_matches(plain(name), names, n=1)
    return names[found[0]] if found else None


def plain(name: str) -> str:
    return "".join(filter(str.isalnum, name)).lower()


def validate_params(estimator: BaseEstimator) -> None:
    """scikit-learn's check of parameters; its error also names the allowed value that was probably
    meant.
    """
    try:
        BaseEstimator._validate_params(estimator)
    except InvalidParameterError as error:
        for name, value in estimator.get_params(deep=False).items():
            if isinstance(value, str) and str(error).startswith(f"The {name!r} parameter"):
                constraints = map(make_constraint, estimator._parameter_constraints[name])
                options = [
                    one
                    for known in constraints
                    if isinstance(known, StrOptions)
                    for one in known.options
                ]
                if found := nearest(value, options):
                    raise InvalidParameterError(f"{error} Did you mean {found!r}?") from None
        raise

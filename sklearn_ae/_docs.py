"""The parameters that both estimators share, described once."""

import inspect

PARAMETERS = """
architecture : part of :mod:`sklearn_ae.architectures` or None, default=None
    Encoder and decoder: `Dense`, `Convolutional` or `Custom`. {architecture}
corruption : part of :mod:`sklearn_ae.corruptions`, callable or None, default=None
    What is done to the input in training; the output is compared with the clean input: `GaussianNoise`, `Masking`,
    `SaltAndPepper`, or a function from a batch to one of the same shape. None corrupts nothing.
latent : part of :mod:`sklearn_ae.latents` or None, default=None
    What the code is: `Ordered`, `Sparse`, `Contractive` or `Variational`. None is a plain code.
loss : {{"squared_error", "absolute_error", "huber", "binary_cross_entropy"}} or callable, default="squared_error"
    Reconstruction loss, a mean over features in scaled units. ``"binary_cross_entropy"`` needs data in [0, 1] and gives
    probabilities. A function or an ``nn.Module`` is called as ``loss(raw, x)`` and must give one number per sample, or one per
    sample and feature.
scaling : {{"auto", "standard", "mixed", "bounded", "robust", "uniform", "whitened", "standard_whitened"}} or None, default="auto"
    A map at both ends of the network, computed from the training data. ``"standard"`` subtracts the mean and divides by the
    standard deviation. ``"mixed"`` does so too, but divides columns of zeros and ones by one half, so that rare categories do
    not weigh more than numbers. ``"bounded"`` does as ``"standard"``, but divides a feature that has one value in nine tenths of
    the rows by at least half of its largest deviation. ``"robust"`` uses the median and the range from the 10% to the 90% quantile.
    ``"uniform"`` divides all features by one number, so that zeros stay zeros. ``"whitened"`` scales as ``"robust"``, then
    decorrelates the features in part (the more, the more features there are) and shrinks large values by arcsinh;
    ``"standard_whitened"`` scales as ``"standard"`` first. The inverse undoes all of it. None leaves the data as they are.
    ``"auto"`` is None for cross-entropy, {scaling} otherwise.
optimizer : {{"adam", "adamw", "sgd", "rmsprop", "nadam", "radam", "adagrad"}} or class, default="{optimizer}"
    The optimiser, by name or as a class from ``torch.optim``. ``"sgd"`` has Nesterov momentum of 0.9.
learning_rate : float or "auto", default="auto"
    The largest learning rate of the schedule; ``"auto"`` is {learning_rate}.
learning_rate_schedule : {{"one_cycle", "cosine", "constant", "plateau"}} or callable, default="one_cycle"
    How the learning rate changes: up over the first 30% of the steps and down to zero; down to zero along half a cosine;
    not at all; or to 0.3 of itself whenever `n_iter_no_change` epochs bring no improvement. A callable takes the share of training
    done, in [0, 1), and gives a factor.
weight_decay : float, default=0.0
    Weight decay, as the optimiser defines it.
max_grad_norm : float or None, default={max_grad_norm}
    Gradients of a greater norm are scaled down to it; None leaves them as they are.
max_epochs : int or "auto", default="auto"
    Passes over the training rows. {max_epochs}
batch_size : int or "auto", default="auto"
    Rows in a batch. {batch_size}
early_stopping : bool, default={early_stopping}
    Hold out rows, and keep the weights of the epoch with the lowest loss on them, or those from before training if none was
    better by more than 1 + 5 / n standard errors, of n rows held out; these are then computed again from all rows.
validation_fraction : float in (0, 1) or "auto", default="auto"
    Share of the rows held out. {validation_fraction}
n_iter_no_change : int or None, default=None
    With `early_stopping`, training ends after this many epochs without improvement. None trains to the end of the schedule.
tol : float, default=1e-4
    What counts as improvement, as a share of the loss.
warm_start : bool, default=False
    Start from the weights and the scaling of the last fit. Rows are known again by their values, in whatever order they come:
    those that were held out are held out again, those that were learnt never are, and of new ones some are held out. For this a
    number of 8 bytes is kept for each row. Set it before the first fit.
device : str or torch.device, default="auto"
    Where to compute; ``"auto"`` is a GPU if there is one.
compile : bool, default=False
    Compile the training step with ``torch.compile``: worth its tens of seconds in long trainings only.
mixed_precision : bool, default=False
    Train in bfloat16 where that is safe; faster on recent GPUs, slower on most CPUs.
callbacks : list of skorch callbacks or None, default=None
    Called in training, as skorch documents them. Hooks for each batch cost time; those for each epoch cost hardly any.
    scikit-learn's own, from version 1.9 on, are set by ``set_callbacks``.
verbose : int, default=0
    Whether training is shown. 0 is silent. 1 shows a bar with the losses, the best epoch and the time left, or a few lines where
    the output is no terminal and no notebook. 2 prints a line for each epoch.
random_state : int, RandomState instance or None, default=None
    Seeds everything random: the same number gives the same result on the same machine in as many threads. None takes a seed
    from NumPy's global generator, as everywhere in scikit-learn.
"""

ATTRIBUTES = """
net_ : skorch.NeuralNet
    The trained net; ``net_.module_`` is the torch module.
n_components_ : int
    Length of a code; in an ensemble, the most that a member's code may have.
n_iter_ : int
    Epochs run by the last fit.
loss_curve_ : list of float
    The training objective, epoch by epoch.
validation_loss_curve_ : list of float or None
    The same on the rows held out; None without `early_stopping`.
best_epoch_ : int
    The epoch whose weights were kept, from 1: the last one without `early_stopping`. 0 if those from before training were.
n_features_in_ : int
    Features seen in fit.
feature_names_in_ : ndarray of shape (n_features_in_,)
    Their names, if X had any.
"""

NOTES = """
- **Units.** Data can be in any units: they are scaled inside, and reconstructions come in the data's own.
- **Missing values** are NaN. Columns of text or categories are encoded first, by `sklearn.preprocessing.OneHotEncoder` for example.
- **Progress.** ``verbose=1`` shows a bar. ``sklearn_ae.inspection.LossCurveDisplay`` shows whether training has converged.
- **Too slow?** Lower `max_epochs`. A GPU is taken if there is one.
- **The same result each time:** set `random_state`.
- **The length of the code:** ``sklearn_ae.inspection.ExplainedVarianceDisplay`` compares some, `GridSearchCV` searches.
- **More rows than memory:** pass a ``numpy.memmap``, or call ``partial_fit`` with chunks.
- **Save:** ``sklearn_ae.persistence.save(estimator, "file.safetensors")``; loading runs no code. A pickle or a joblib
  file runs any code that is in it: never load one from somebody you do not trust.
- **Your own network, loss or corruption** goes into its slot: ``architecture=Custom(encoder, decoder)``, ``loss=function``.
- **In a pipeline**, what only this estimator has is asked of the last step:
  ``pipeline[-1].reconstruct(pipeline[:-1].transform(X))``.
"""


def describe(**defaults):
    """Fill a class's docstring with what both estimators share, `defaults` being what differs."""

    def fill(cls):
        text = inspect.cleandoc(cls.__doc__)
        text = text.replace("<parameters>", PARAMETERS.strip().format(**defaults))
        cls.__doc__ = text.replace("<attributes>", ATTRIBUTES.strip()).replace("<notes>", NOTES.strip())
        return cls

    return fill

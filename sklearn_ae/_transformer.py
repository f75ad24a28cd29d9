"""AutoencoderTransformer."""

from sklearn_ae._base import BaseAutoencoder


class AutoencoderTransformer(BaseAutoencoder):
    """Dimensionality reduction by an autoencoder."""

    def __init__(
        self,
        n_components=2,
        *,
        architecture=None,
        corruption=None,
        latent=None,
        loss="squared_error",
        scaling="auto",
        optimizer="adamw",
        learning_rate=1e-2,
        learning_rate_schedule="one_cycle",
        weight_decay=1e-2,
        max_epochs="auto",
        batch_size="auto",
        early_stopping=True,
        validation_fraction="auto",
        n_iter_no_change=None,
        tol=1e-4,
        warm_start=False,
        device="auto",
        compile=False,
        callbacks=None,
        verbose=0,
        random_state=None,
    ):
        self.n_components = n_components
        self.architecture = architecture
        self.corruption = corruption
        self.latent = latent
        self.loss = loss
        self.scaling = scaling
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.learning_rate_schedule = learning_rate_schedule
        self.weight_decay = weight_decay
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.warm_start = warm_start
        self.device = device
        self.compile = compile
        self.callbacks = callbacks
        self.verbose = verbose
        self.random_state = random_state

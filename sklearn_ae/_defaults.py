"""The measured rules behind every ``"auto"``, with their constants. benchmarks/README.md has what
each was measured against.
"""

import math

import numpy as np

# Learning rate, steps and batches of a single autoencoder
RATE = 1e-2
# steps for 1,000 rows, the power of the rows with which they grow, and the most
STEPS, GROWTH, MOST_STEPS = 1_250, 0.6, 1_800
# times as many rows a batch, and steps, with a corruption or random codes: gradients are noisier
NOISY_BATCH, NOISY_STEPS = 4, 0.5
LINEAR_STEPS = 100  # without hidden layers, PCA's start is nearly the end
FEWEST_EPOCHS, ENOUGH_EPOCHS, MOST_EPOCHS = 2, 30, 500
WIDE = 256  # features from which on learning rate and steps are lowered
SMALLEST_BATCH, USUAL_BATCH = 64, 128

# Ordered codes of which a share of the variance is asked for
MOST_ORDERED = 128
ORDERED_START_ROWS = 5_000  # rows whose principal components say how many codes are enough

# Imputation, which hides values: batches as with a corruption, and few steps at a high rate
IMPUTER_RATE, IMPUTER_STEPS = 1.5, 0.15  # of those of an autoencoder alone

# Streams
STREAM_RATE = 5e-3
# the weights' moving average: a share of the steps so far, and steps at most
STREAM_AVERAGE, LONGEST_AVERAGE = 0.1, 2_000
STREAM_MEMORY = 100_000  # rows that the scaling remembers
MOST_RECENT = 2_500  # rows held out that a detector keeps

# Validation and starts
HELD_OUT, MOST_HELD_OUT = 0.1, 10_000
# where a tenth is fewer than are enough, up to a fifth is held out
ENOUGH_HELD_OUT, MOST_SHARE = 100, 0.2
MAX_ROWS_TO_TRAIN_AGAIN = 400  # up to which a second training is on all rows
MAX_ROWS_TO_REFIT = 1_000  # up to which training goes on for some steps on all rows
# in a share of the steps to the best epoch, and at most of those planned
LAST_SHARE, MOST_LAST = 0.25, 0.12
EARLY = 0.3  # of the plan: the peak of the rate's cycle
# rows from which starting weights are computed; fewer where they are wide
START_ROWS, START_VALUES = 20_000, 2**25
# deviations of noise in the layers' input, in training on so few rows
INPUT_NOISE, FEW_ROWS = 0.3, 1_000

# Several processes
# rows that all of them have, for starts, validation and calibration
FEWEST_GATHERED, MOST_GATHERED = 2_000, 20_000

# Networks of an ensemble
MEMBER_RATE, MEMBER_STEPS, MEMBER_ROWS = 1.5e-2, 75, 128
# numbers in a batch of one of them, and rows at least
MEMBER_VALUES, FEWEST_MEMBER_ROWS = 2**15, 32
# rows of a member's codebook: one for so many that it learns from, and the most
ROWS_PER_CODE, MOST_ROWS = 8, 16
WHITENING_ROWS, WHITENING_VALUES, FEWEST_WHITENING = 10_000, 2**21, 1_024

# Novelty: the masked autoencoder, and the rows that are kept
MASKED_RATE, MASKED_BATCH = 5e-3, 128
MASKED_STEPS = 100, 500  # the latter up to WIDE features
MASKED_UNITS, MOST_MASKED_COMPONENTS = 128, 64
MEMORY_ROWS, MEMORY_VALUES = 8_192, 2**22  # kept at most: 16 MB

# Calibration of the detector
CALIBRATION_SHARE, MOST_CALIBRATION = 0.2, 10_000

# Codes kept for `sample`
FEWEST_CODES, MOST_CODES = 50, 1_000
SAMPLE_SHARE = 0.2  # of an ensemble's weights: as many numbers, of half their size, are codes
# of a component's deviation: the largest rounding with which codes are kept in half precision
HALF_ENOUGH = 0.01

# Threads, and chunks of rows in inference
# multiplications of a training step from which on it uses torch's threads: some seconds in one
THREADED_WORK = 2**34
CHUNK_ROWS = 64, 4_096  # fewest and most rows of a chunk
CHUNK_VALUES = 2**22  # numbers in a chunk at most
CHUNK_PRODUCTS = 2**26  # multiplications in a chunk at most: a single row costs a chunk

# relative fall of the loss in the last epoch of an annealed schedule that counts as not converged
STILL_FALLING = 0.05


def codebook_rows(n: int) -> int:
    """Rows of a codebook that learns from n rows."""
    return int(np.clip(n // ROWS_PER_CODE, 1, MOST_ROWS))


def width_factor(n_features: int) -> float:
    """The factor of learning rate and steps: wide layers sum more gradients, and take longer."""
    return min(1.0, (WIDE / n_features) ** 0.5)


def auto_epochs(n_steps: float, n: int, batch_size: int, factor: float = 1.0) -> int:
    """How many epochs make that many steps, within bounds; `factor` of them, but not under 30 for
    it.
    """
    n_epochs = n_steps * batch_size / n
    n_epochs = max(factor * n_epochs, min(n_epochs, ENOUGH_EPOCHS))
    return int(np.clip(np.ceil(n_epochs), FEWEST_EPOCHS, MOST_EPOCHS))


def auto_batch_size(n: int) -> int:
    """About a thirty-second of the rows, from 64 to 128, and a thousandth from 128,000 rows on; all
    batches about as large.
    """
    size = np.clip(n / 32, SMALLEST_BATCH, max(USUAL_BATCH, n / 1_000))
    return math.ceil(n / max(1, round(n / size)))


def stream_decay(step: int) -> float:
    """The decay of the weights' moving average after so many steps of a stream."""
    return 1 - 1 / (1 + min(STREAM_AVERAGE * step, LONGEST_AVERAGE))


def auto_steps(n: int) -> float:
    """Steps planned for n rows to learn from."""
    return min(STEPS * (n / 1_000) ** GROWTH, MOST_STEPS)


def last_epochs(n_planned: int, best_share: float) -> int:
    """Epochs in which rows that were held out are learnt in the end; none where the best was early,
    and more steps overfit.
    """
    return (
        0
        if best_share < EARLY
        else max(1, round(min(LAST_SHARE * best_share, MOST_LAST) * n_planned))
    )


def detector_code(n_features: int) -> int:
    """Length of a detector's code. A code as long as the row would give back every row."""
    return max(1, min(math.ceil(math.sqrt(n_features)), n_features - 1))


def whitening_rows(n_features: int) -> int:
    """How many rows a whitening is computed from; fewer where they are wide."""
    return min(WHITENING_ROWS, max(FEWEST_WHITENING, WHITENING_VALUES // n_features))


def member_batch(n_features: int) -> int:
    """Rows in a batch of a network of an ensemble; fewer where they are wide."""
    return max(FEWEST_MEMBER_ROWS, MEMBER_VALUES // n_features)


def n_held_out(
    validation: float | str, n: int, share: float = HELD_OUT, most: int = MOST_HELD_OUT
) -> int:
    """How many of n rows are held out.

    Raises
    ------
    ValueError
        If a share that the user has given leaves no rows to train or to validate on.
    """
    if isinstance(validation, str):  # "auto"
        return round(min(max(share * n, min(ENOUGH_HELD_OUT, MOST_SHARE * n)), most))
    held_out = round(validation * n)
    if not 0 < held_out < n:
        raise ValueError(
            f"validation_fraction={validation} of {n} samples leaves {held_out} to validate on; "
            "pass 'auto', or another share, of which at least one row is held out and one is not."
        )
    return held_out


def n_calibration(validation: float | str, n: int) -> int:
    """How many of n rows are held out to calibrate a detector."""
    return n_held_out(validation, n, CALIBRATION_SHARE, MOST_CALIBRATION)


def masked_steps(n_features: int) -> int:
    """Steps of training, fewer where they take longer since rows are wide; the memory does most of
    the work there.
    """
    fewest, most = MASKED_STEPS
    return max(fewest, round(most * width_factor(n_features) ** 3))


def memory_rows(n_features: int) -> int:
    """How many training rows are kept for the nearest to be found among."""
    return max(1, min(MEMORY_ROWS, MEMORY_VALUES // n_features))


def input_noise(n: int) -> float:
    """Noise in the layers' input, in deviations."""
    return INPUT_NOISE if n <= FEW_ROWS else 0.0


def training_threads(n_parameters: int, batch_size: int, n_features: int) -> int | None:
    """Threads to train in; None for as many as torch has.

    Threads wait for one another at the end of every operation. On a busy machine that takes
    milliseconds, however small the operation, so only steps that take far longer use them: on two
    cores shared with others, a step of ``Dense((2048, 2048))`` on 256 rows took 1.6 s in one thread
    and 4.6 s in two, and on 1,024 rows 1.0 s and 3.7 s; with two cores of its own it gains half at
    best.
    """
    work = batch_size * (n_parameters + 32 * n_features)
    return None if work >= THREADED_WORK else 1


def chunk_rows(n_values: int, n_products: int) -> int:
    """How many rows go through a network at a time: a power of two.

    Parameters
    ----------
    n_values : int
        Numbers that stand for a row within the network.
    n_products : int
        Multiplications that a row takes.
    """
    return 2 ** int(
        np.log2(np.clip(min(CHUNK_VALUES / n_values, CHUNK_PRODUCTS / n_products), *CHUNK_ROWS))
    )

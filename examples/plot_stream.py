"""
Learning from a stream
======================

``partial_fit`` takes one chunk of rows at a time and goes on from the last one. No row has to be
kept. Each chunk is scored before it is learnt, so the curve of these losses is an honest one.
"""

import matplotlib.pyplot as plt
import numpy as np

from sklearn_ae import AutoencoderOutlierDetector, AutoencoderTransformer

# %%
# Forty chunks of 500 rows from ten sensors of a made-up machine that follow from two numbers.
# After the twentieth chunk it is rebuilt: the same two numbers, other sensors.

rng = np.random.default_rng(0)
before, after = rng.normal(size=(2, 5, 10))


def chunk(number):
    load, heat = rng.uniform(-1, 1, size=(2, 500))
    states = np.column_stack([load, heat, load * heat, np.sin(3 * load), heat**2])
    return states @ (before if number < 20 else after) + 0.1 * rng.normal(size=(500, 10))


chunks = [chunk(number) for number in range(40)]
model = AutoencoderTransformer(2, random_state=0)
detector = AutoencoderOutlierDetector(random_state=0).partial_fit(chunks[0])
frozen = AutoencoderOutlierDetector(random_state=0).fit(np.vstack(chunks[:5]))

alarms, frozen_alarms = [], []
for rows in chunks:
    model.partial_fit(rows)
for rows in chunks[1:]:
    alarms.append((detector.p_values(rows) <= 0.05).mean())
    frozen_alarms.append((frozen.p_values(rows) <= 0.05).mean())
    detector.partial_fit(rows)

losses = np.array(model.validation_loss_curve_)
print(
    f"loss of a chunk before it is learnt: {losses[1]:.2f} of the 2nd, {losses[19]:.2f} of the 20th,"
)
print(f"{losses[20]:.2f} of the first after the change, {losses[-1]:.2f} of the last")
for name, share in ("follows the stream", alarms), ("fitted once", frozen_alarms):
    print(
        f"detector, {name}: {np.mean(share[:19]):.1%} alarms before, {share[19]:.0%} at the change, {np.mean(share[-10:]):.1%} in the last ten"
    )

# %%

fig, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
left.plot(np.arange(1, len(losses) + 1), losses, ".-")
left.set(
    xlabel="chunk",
    ylabel="loss before it was learnt",
    yscale="log",
    title="AutoencoderTransformer",
)
right.plot(np.arange(2, 41), frozen_alarms, ".-", color="0.6", label="fitted once")
right.plot(np.arange(2, 41), alarms, ".-", color="tab:red", label="partial_fit")
right.axhline(0.05, color="k", ls="--", lw=1, label="expected")
right.set(
    xlabel="chunk", ylabel="share of p-values of at most 0.05", title="AutoencoderOutlierDetector"
)
right.legend()
for ax in left, right:
    ax.axvline(20.5, color="k", ls=":", lw=1)
plt.show()

# %%
# **What this run showed.** The transformer's loss fell from chunk to chunk, jumped when the machine
# was rebuilt, and fell again, below what it had been. The detector that was fitted once called most
# rows an outlier from then on. The one that follows the stream raised the same alarm, dropped its
# older rows within a few chunks, and was quiet again, in the last ten chunks even below the 5% that
# are expected. An alarm is therefore to be acted upon when it
# comes: a stream that is followed becomes the new normal.

"""
Novelties, with a bound on false alarms
=======================================

A detector is trained on clean rows. In a stream of new rows, some are of a kind that it has
never seen. p-values and the procedure of Benjamini and Hochberg choose alarms so that, on
average, at most a given share of them is false.
"""

import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import false_discovery_control

from sklearn_ae import AutoencoderOutlierDetector

# %%
# A made-up machine: two hidden states, load and temperature, drive eight sensors. In a fault,
# one sensor no longer follows: it gives the value that it had at another time. Each value by
# itself is usual, only the combination is not.


def machine(n, rng):
    load, heat = rng.uniform(0, 1, n), rng.normal(size=n)
    sensors = [
        load,
        load**2,
        np.sqrt(load),
        load * heat,
        heat,
        heat**2,
        np.sin(3 * load),
        heat - load,
    ]
    return np.column_stack(sensors) + 0.05 * rng.normal(size=(n, 8))


def with_faults(X, rng):
    broken = X.copy()
    column = rng.integers(8, size=len(X))
    broken[np.arange(len(X)), column] = machine(len(X), rng)[np.arange(len(X)), column]
    return broken


# %%
# To see averages and not one lucky split, all is repeated twelve times: 2,000 clean rows to
# train on, of which the detector holds a fifth out, and 400 new rows with 40 faults. The
# training rows are clean, and all sensors follow from two hidden states, which one network with a
# code of two can learn from all rows (``n_estimators=1``). The general setting for clean rows is
# ``novelty=True``; :doc:`plot_drift` compares the two.

levels = np.array([0.05, 0.1, 0.2, 0.3, 0.4])


def one_round(seed):
    rng = np.random.default_rng(seed)
    detector = AutoencoderOutlierDetector(2, n_estimators=1, max_epochs=40, random_state=seed).fit(
        machine(2_000, rng)
    )
    rows = machine(400, rng)
    rows[360:] = with_faults(rows[360:], rng)
    p = detector.p_values(rows)
    alarms = false_discovery_control(p) <= levels[:, None]  # one row for each level
    false = alarms[:, :360].sum(axis=1) / np.maximum(alarms.sum(axis=1), 1)
    return p, false, alarms[:, 360:].mean(axis=1)


p, false, found = (
    np.array(part) for part in zip(*(one_round(seed) for seed in range(12)), strict=True)
)
for level, f, power in zip(levels, false.mean(axis=0), found.mean(axis=0), strict=True):
    print(
        f"asked for at most {level:.0%} false alarms: {f:.1%} were false, {power:.0%} of the faults were found"
    )

assert (false.mean(axis=0) <= levels + 0.05).all()
assert 0.5 < found.mean(axis=0)[1] < 0.7

# %%
# p-values of rows of a known kind are uniform: that is the guarantee. Those of faults are small,
# if the detector is good at this kind of fault.

fig, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
bins = np.linspace(0, 1, 21)
axes[0].hist(p[:, :360].ravel(), bins, density=True, alpha=0.7, label="usual rows")
axes[0].hist(p[:, 360:].ravel(), bins, density=True, alpha=0.7, label="faults")
axes[0].axhline(1, color="k", lw=1, ls="--")
axes[0].set(xlabel="p-value", ylabel="density", title="p-values of new rows")
axes[0].legend()
axes[1].plot(levels, levels, "k--", lw=1, label="the bound")
axes[1].plot(levels, false.mean(axis=0), "o-", label="false among the alarms")
axes[1].plot(levels, found.mean(axis=0), "s-", label="faults found")
axes[1].set(
    xlabel="share of false alarms asked for",
    ylabel="share",
    title="Mean of 12 rounds",
    ylim=(0, 1),
)
axes[1].legend()
plt.show()

# %%
# **What this run showed.** The share of false alarms kept to its bound, up to the chance of
# twelve rounds. What it costs is power: at a bound of a tenth somewhat more than half of the
# faults were found. Others cannot be found by anyone, since the value that the broken sensor
# gives fits the others by accident. The bound holds for the average over rounds, not for each of
# them.

"""
Numbers and categories in one table
===================================

Tables have columns of both kinds. A ``ColumnTransformer`` turns categories into columns of zeros
and ones, the detector takes them, and its contributions are added up again for each column of
the table.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_wine
from sklearn.ensemble import IsolationForest
from sklearn.metrics import r2_score, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from sklearn_ae import AutoencoderOutlierDetector, AutoencoderTransformer
from sklearn_ae.pipelines import feature_contributions

# %%
# A made-up table of flats. Rent follows from area, district and year. In 30 of 1,500 rows the
# district is wrong: one that exists, but in which such a rent is not usual.

rng = np.random.default_rng(0)
n = 1_500
districts = np.array(["centre", "harbour", "hills", "station", "west"])
rent_of = dict(zip(districts, [24, 18, 14, 10, 7], strict=True))
flats = pd.DataFrame(
    {
        "area": rng.lognormal(4.2, 0.35, n),
        "district": rng.choice(districts, n),
        "year": rng.integers(1900, 2020, n),
    }
)
flats["rooms"] = np.maximum(1, np.round(flats["area"] / 25 + 0.4 * rng.normal(size=n)))
flats["heating"] = np.where(
    flats["year"] + rng.normal(0, 15, n) > 1985,
    "pump",
    np.where(rng.random(n) < 0.5, "gas", "oil"),
)
flats["rent"] = (
    flats["area"]
    * flats["district"].map(rent_of)
    * rng.lognormal(0, 0.05, n)
    * (1 + (flats["year"] - 1960) / 400)
)

wrong = rng.choice(n, 30, replace=False)
rent_level = flats["district"].map(rent_of)
flats.loc[wrong, "district"] = np.where(rent_level[wrong] > 12, "west", "centre")
y = np.isin(np.arange(n), wrong)

# %%
# Rents and areas are ratios, so their logarithms are taken. ``sparse_output=False`` because few
# columns take little room, and names can be put beside them.

log = ["area", "rent"]
numbers = ["year", "rooms"]
categories = ["district", "heating"]
flats[log] = np.log(flats[log])
encode = make_column_transformer(
    (StandardScaler(), log + numbers),
    (OneHotEncoder(sparse_output=False), categories),
    verbose_feature_names_out=False,
)


def detect(detector):
    return make_pipeline(encode, detector).fit(flats)


# %%
# No value of a wrong row is unusual by itself: it does not fit the others. Such rows are found by a
# network that has learnt, from all rows, how the columns depend on one another
# (``n_estimators=1``). The default learns from few rows at a time.

ensemble = detect(AutoencoderOutlierDetector(random_state=0))
single = detect(AutoencoderOutlierDetector(4, n_estimators=1, random_state=0))
forest = detect(IsolationForest(random_state=0))
models = {"default": ensemble, "n_estimators=1": single, "IsolationForest": forest}
area = {name: roc_auc_score(y, -model.score_samples(flats)) for name, model in models.items()}
for name, value in area.items():
    print(f"{name:16} area under the ROC curve {value:.3f}")
assert area["n_estimators=1"] > 0.95
assert max(area["default"], area["IsolationForest"]) < 0.85

# %%
# Which column is to blame? The contributions of encoded columns are added up for each column of the
# table.

contributions = feature_contributions(single, flats)
print((contributions[y].mean() / contributions[y].mean().sum()).round(2))
assert contributions[y].mean()["district"] > 0.5 * contributions[y].mean().sum()

# %%
fig, axes = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
share = pd.DataFrame(
    {"wrong district": contributions[y].mean(), "other rows": contributions[~y].mean()}
)
share.sort_values("wrong district").plot.barh(ax=axes[0], color=["tab:red", "0.6"])
axes[0].set(title="Mean contribution of each column", xlabel="contribution to the outlyingness")
for kind, colour, size in ((~y, "0.7", 8), (y, "tab:red", 22)):
    rows = flats[kind]
    axes[1].scatter(
        rows["district"].map(list(districts).index) + rng.uniform(-0.25, 0.25, len(rows)),
        rows["rent"] - rows["area"],
        c=colour,
        s=size,
    )
axes[1].set(
    xticks=range(5),
    xticklabels=districts,
    ylabel="log(rent / area)",
    title="Wrong districts (red)",
)
plt.show()

# %%
# How much does a code keep of either kind? ``scaling="auto"`` divides columns of zeros and ones by
# one half, the greatest standard deviation that they can have. ``"standard"`` divides each by its
# own, which makes rare categories large. ``None`` leaves them as they are beside the scaled
# numbers. Half of the rows are to learn from, the others to judge by; the codes have 4 numbers.

wines = load_wine(as_frame=True).frame.astype({"target": str})
tables = {
    "flats": (flats, log + numbers, categories),
    "wines": (wines, list(wines.columns[:-1]), ["target"]),
}
for title, (frame, number_columns, category_columns) in tables.items():
    encode = make_column_transformer(
        (StandardScaler(), number_columns),
        (OneHotEncoder(sparse_output=False), category_columns),
    )
    X = encode.fit_transform(frame)
    n_numbers = len(number_columns)
    for scaling in ("auto", "standard", None):
        model = AutoencoderTransformer(4, scaling=scaling, random_state=0).fit(X[::2])
        restored = model.reconstruct(X[1::2])
        r2 = r2_score(X[1::2, :n_numbers], restored[:, :n_numbers])
        named = encode.named_transformers_["onehotencoder"].inverse_transform(
            restored[:, n_numbers:]
        )
        right = (named == frame[category_columns].to_numpy()[1::2]).mean()
        print(
            f"{title}, scaling={scaling!r:10} R2 of numbers {r2:.3f}, categories right {right:.1%}"
        )

# %%
# **What this run showed.** One network on all rows ranked nearly all wrong districts before all
# other rows. The default and IsolationForest were much worse at rows that are unusual only jointly.
# More than half of the blame went to the district, the rest to columns that it does not fit.
#
# With ``"auto"`` codes of the flats kept the most of numbers and categories, and those of the wines
# about as much as with the other two. On a dozen other tables none of the three was best in both:
# ``None`` kept more of the numbers and lost many categories, ``"standard"`` the other way round.

"""
A file to keep, a graph to ship
===============================

``save`` writes one file, and loading it runs no code. ``to_onnx`` writes a graph that a program
in another language can run. Both give the scores of the estimator that they were made from.
"""

import os
import pickle
import tempfile

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split

from sklearn_ae import AutoencoderOutlierDetector
from sklearn_ae.persistence import load, save

X, _ = load_breast_cancer(return_X_y=True)
X_train, X_test = train_test_split(X, random_state=0)
detector = AutoencoderOutlierDetector(random_state=0).fit(X_train)
expected = detector.score_samples(X_test)

folder = tempfile.TemporaryDirectory()
path = os.path.join(folder.name, "detector.safetensors")
save(detector, path)
loaded = load(path)

same = np.array_equal(loaded.score_samples(X_test), expected)
print(f"scores of the loaded detector are the same to the last bit: {same}")
sizes = {"save": os.path.getsize(path), "pickle": len(pickle.dumps(detector))}

# %%
# A file that was cut off or edited is refused, and the message says why.

with open(path, "rb") as file:
    content = bytearray(file.read())
content[-100] ^= 1  # one bit
edited = os.path.join(folder.name, "edited.safetensors")
with open(edited, "wb") as file:
    file.write(content)
try:
    load(edited)
except ValueError as error:
    print("one bit changed:", str(error).replace(folder.name, "..."))

# %%
# The graph holds scaling, network and threshold. It needs ``pip install sklearn-ae[onnx]``.

shipped = None
try:
    import onnxruntime

    from sklearn_ae.persistence import to_onnx

    graph = os.path.join(folder.name, "detector.onnx")
    to_onnx(detector, graph, method="score_samples")
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    (shipped,) = session.run(None, {"X": X_test.astype(np.float32)})
    shipped = np.ravel(shipped)
    sizes["to_onnx"] = os.path.getsize(graph)
    print(f"largest difference of the graph's scores: {np.abs(shipped - expected).max():.1e}")
except ImportError as error:
    print("no graph:", error)

# %%

fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
left.plot(expected, loaded.score_samples(X_test), "o", ms=7, mfc="none", label="save, load")
if shipped is not None:
    left.plot(expected, shipped, "k.", ms=3, label="to_onnx, onnxruntime")
left.set(xlabel="score of the detector", ylabel="score of the copy")
left.legend()
bars = right.barh(list(sizes), [size / 1024 for size in sizes.values()])
right.bar_label(bars, fmt="%.0f", padding=3)
right.set(xlabel="size in KiB")
right.margins(x=0.15)
right.invert_yaxis()
plt.show()
folder.cleanup()

# %%
# **What this run showed.** The file gave the same scores to the last bit, and the edited one was
# refused. The graph, where its packages are installed, agreed to about six digits, as it computes in
# float32 with other code. All three kinds of file are about as large. A pickle holds no more than
# the file, but loading one runs any code that is in it.

"""Saving and shipping: files from which loading runs no code, and ONNX.

A pickle (and a joblib file, which is one) can hold anything that Python can, but loading it runs
any code that somebody has put into it. `save` writes arrays and plain values only, and `load`
refuses a damaged or foreign file. `to_onnx` gives a graph that runs without Python.
"""

from sklearn_ae.persistence._file import load, save
from sklearn_ae.persistence._onnx import to_onnx
from sklearn_ae.persistence._skl2onnx import register_skl2onnx_converters

__all__ = ["load", "register_skl2onnx_converters", "save", "to_onnx"]

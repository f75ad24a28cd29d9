"""Columns that are not numbers: found and named before they fail somewhere deep within."""

import numpy as np

SHOWN = 5  # columns that a message names


def refuse_columns(X) -> None:
    """Raise an error that names the columns of X that cannot be read as numbers, and says what to
    put before.

    Numbers that are written as text or as categories are read as numbers, as everywhere in
    scikit-learn.

    Parameters
    ----------
    X : array-like

    Raises
    ------
    TypeError
        If columns hold dates or durations.
    ValueError
        If columns hold text, categories, complex numbers or other objects.
    """
    dates, others = [], []
    for name, column in columns_of(X):
        if is_date(column.dtype):
            dates.append((name, column.dtype))
        elif not is_number(column.dtype) and not reads_as_numbers(column):
            others.append((name, column.dtype))
    if others:
        names = [name for name, _ in others]
        raise ValueError(
            f"X has columns that are not numbers: {shown(others)}. Encode them first: "
            f"make_pipeline(make_column_transformer((OneHotEncoder(), {brief(names)}), "
            "remainder=StandardScaler()), ...); could not convert string to float otherwise."
        )
    if dates:
        names = [name for name, _ in dates]
        raise TypeError(
            f"X has dates or durations: {shown(dates)}. Turn them into numbers first, such as days "
            "since a date, or leave them out: make_pipeline(make_column_transformer(('drop', "
            f"{brief(names)}), remainder=StandardScaler()), ...)."
        )


def columns_of(X):
    """Names and columns of a frame of pandas or polars or a table of Arrow, or an array of dates as
    if it were one column.
    """
    if hasattr(X, "iloc") and hasattr(X, "columns"):
        return [(name, X.iloc[:, i]) for i, name in enumerate(X.columns)]
    if hasattr(X, "to_series") and hasattr(X, "columns"):
        return [(name, X.to_series(i)) for i, name in enumerate(X.columns)]
    # a table of Arrow, whose first rows are enough to tell
    if hasattr(X, "column_names") and hasattr(X, "slice"):
        return list(
            zip(
                X.column_names,
                [column.to_numpy() for column in X.slice(0, 1_000).columns],
                strict=True,
            )
        )
    return [("all", X)] if isinstance(X, np.ndarray) and X.dtype.kind in "mM" else []


def is_date(dtype) -> bool:
    temporal = getattr(dtype, "is_temporal", None)  # of polars
    return (
        temporal()
        if temporal
        else getattr(dtype, "kind", "O") in "mM" or str(dtype).startswith("period")
    )


def is_number(dtype) -> bool:
    numeric = getattr(dtype, "is_numeric", None)  # of polars
    return (
        numeric() or str(dtype) == "Boolean" if numeric else getattr(dtype, "kind", "O") in "biuf"
    )


def reads_as_numbers(column) -> bool:
    if getattr(column.dtype, "kind", "O") == "c":
        return False
    if getattr(column.dtype, "kind", "") == "O" and hasattr(column, "dropna"):
        column = column.dropna()  # gaps are another matter
    try:
        np.asarray(column).astype(np.float64)
    except (TypeError, ValueError):
        return False
    return True


def shown(columns: list[tuple]) -> str:
    rest = f" and {len(columns) - SHOWN} more" if len(columns) > SHOWN else ""
    return ", ".join(f"{name!r} ({dtype})" for name, dtype in columns[:SHOWN]) + rest


def brief(names: list) -> str:
    return (
        repr(names) if len(names) <= SHOWN else "[" + ", ".join(map(repr, names[:SHOWN])) + ", ...]"
    )

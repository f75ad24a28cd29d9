"""Names of what a fitted estimator is made of besides parts: dataclasses and named tuples that can be written to files."""

RECORDS: dict[str, type] = {}


def record(cls: type) -> type:
    """Name a class whose fields are plain values, arrays, random states or such records again."""
    RECORDS[cls.__name__] = cls
    return cls

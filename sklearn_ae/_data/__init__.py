"""Rows of data: where they come from, the batches that a step sees, and their scaling."""

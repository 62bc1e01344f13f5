"""Benchmarks and sample pictures."""

import stylegallery  # noqa: F401  (first of all, for Ctrl-C)

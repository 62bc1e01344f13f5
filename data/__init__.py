"""Benchmarks and sample pictures."""

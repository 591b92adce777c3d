"""Benchmarks. Each compares the speed of this package with that of an alternative, interleaved in one run."""

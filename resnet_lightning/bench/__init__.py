"""Benchmarks: each compares the speed of our code and of an alternative, interleaved in one run."""

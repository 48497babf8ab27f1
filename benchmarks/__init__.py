"""Benchmarks: `make bench`. Two things are compared in one run and reported as ratios; settings are printed."""

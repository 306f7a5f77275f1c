"""Measurements. Nothing here asserts a time; `make bench` prints a table and writes bench/results/latest.json."""

"""Benchmarks: ratios against references taken side by side in one run; they report and never judge."""

"""Benchmarks: ``make bench [ONLY=name]`` measures, writes ``bench.json`` and prints a table.

A case lives in :mod:`bench.cases`; it compares with something a reader knows, in
the same run on the same machine, because seconds on a shared machine mean little
and ratios hold.
"""

"""The tour of every operation on real data: ``python -m examples.demo``."""

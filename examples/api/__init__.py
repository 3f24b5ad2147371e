"""A FastAPI application over the example groups; ``python -m examples.api`` serves it on real data."""

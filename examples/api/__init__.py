"""A FastAPI application over the example groups; ``nox -s api`` serves it on real data."""

"""Fair shares: composite keys, and one computation over many rows."""

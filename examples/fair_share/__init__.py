"""Fair shares: composite keys, three scopes, a db_source and a cache_source, and one computation over many rows."""

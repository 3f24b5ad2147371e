"""Who is in a group right now: kept in Redis alone, and the most there ever were in a table."""

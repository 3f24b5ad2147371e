"""Groups once more, in tables that are spread over shards: every key begins with the domain (docs/distributing.md)."""

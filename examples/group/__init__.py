"""Groups: a table that belongs to a tenant, and the scopes that keep tenants apart."""

"""Domains: the standard operations on one table with a natural key."""

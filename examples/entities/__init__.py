"""Entities that know nothing of rows, behind interfaces of the domain's own."""

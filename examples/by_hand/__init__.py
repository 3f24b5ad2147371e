"""Domains without the base class: the same operation objects, put together by hand."""

"""Routing: which model answers which task."""

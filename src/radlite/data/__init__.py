"""Rows in, Examples out: sources, corpus, split, mixture, and the synthesiser of sample data."""

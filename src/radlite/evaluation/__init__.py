"""Evaluation: answers asked for through the reader, judged over all items, told with n and an interval."""

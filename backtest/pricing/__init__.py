"""Producers of asset marks: values that the replay reads as data."""

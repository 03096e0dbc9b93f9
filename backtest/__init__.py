"""Measure what really keeps a leveraged perpetual from being liquidated."""

"""Outcomes to paired statistics. Sees tables only."""

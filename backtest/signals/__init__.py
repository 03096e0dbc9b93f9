"""Signals: step functions of time for rules, made of closed bars, settlements and published series alone."""

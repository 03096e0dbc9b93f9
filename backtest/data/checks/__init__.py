"""The detectors applied: what is wrong with one dataset, and with several beside each other."""

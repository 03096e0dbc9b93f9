"""Studies: configuration, entries, the runner and the archive."""

"""One module per origin of market data."""

"""The Python interface: studies from Python objects, results as tables, series and figures; see `import backtest`."""

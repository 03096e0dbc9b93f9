"""The replay: margin formulas, ledger, rules, kernel and its decimal twin. Pure: no I/O, no clock."""

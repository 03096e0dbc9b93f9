"""Reports: HTML, charts, tables and explanations. Sees tables only."""

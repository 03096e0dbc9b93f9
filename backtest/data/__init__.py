"""Market data: sources in, a Parquet lake, checks, and the ordered event tape."""

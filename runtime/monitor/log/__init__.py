"""The gate log: append-only segments that survive crashes, sealed to Parquet, and what can be salvaged."""

"""From radio and broker to Parquet: every collector, no statistics."""

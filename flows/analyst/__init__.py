"""What an analyst runs: sql, extract, hrv."""

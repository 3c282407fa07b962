"""Numbers: pure functions and SQL from observations to features, baseline, trend and risk."""

"""The whole system on one machine, on SYNTHETIC people or recorded data."""

"""The nightly run: what is due, computed in shares, judged, published."""

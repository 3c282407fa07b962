"""The care team's worklist page, filled from the derived tables and the alert journal."""

#: Six weeks: the personal baseline (28 days, one week back) and the days it is held against.
PAGE_DAYS = 42
SHOWN = ("steps", "tst_min", "rmssd_ms")

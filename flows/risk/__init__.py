"""The risk model of a site: fitted, approved, explained, judged."""

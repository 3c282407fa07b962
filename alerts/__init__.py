"""Judgement and telling: rules, the alert engine, delivery to the care team."""

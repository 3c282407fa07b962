"""What the care team looks at."""

"""What runs by itself beside the nights, and the process that runs it."""

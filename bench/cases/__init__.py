"""One module per room; every function marked ``@case`` is a benchmark."""

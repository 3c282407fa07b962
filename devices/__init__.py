"""What can be observed: the vocabulary every other package speaks. Pure, no I/O."""

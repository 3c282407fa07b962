"""The clinic's lake and registry by command."""

"""Composition: settings, the command line, the nightly flow, the demo. The only importer of Prefect."""

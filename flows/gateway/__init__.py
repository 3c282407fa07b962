"""The home box: its file, its wearables, its way to the clinic."""

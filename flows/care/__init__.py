"""The care team's commands, the channels, the rules of a site, live alerts."""

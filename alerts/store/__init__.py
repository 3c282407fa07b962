"""The one transactional store: conditions, alerts and messages, people and calendars, audit."""

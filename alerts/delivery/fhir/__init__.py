"""Alerts as FHIR R4 resources."""

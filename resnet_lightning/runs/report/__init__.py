"""Runs compared on one HTML page."""

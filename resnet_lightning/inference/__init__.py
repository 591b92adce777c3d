"""Loads, explains and exports trained models."""

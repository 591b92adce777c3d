"""Experiments that consist of several training runs."""

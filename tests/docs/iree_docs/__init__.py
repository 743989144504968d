"""Helpers that the commands of the documentation use."""

"""Formulas that backends share: elementary functions and small floats as plain arithmetic."""

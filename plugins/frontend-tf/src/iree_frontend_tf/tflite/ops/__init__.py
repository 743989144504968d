"""Lowerings of TFLite operators, one family per file (see ``registry.py``)."""

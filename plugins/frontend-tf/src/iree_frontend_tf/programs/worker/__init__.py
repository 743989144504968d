"""The exporter: from a TensorFlow model to StableHLO and a file of weights.

It runs where TensorFlow is: as a process of its own, in whatever interpreter the user names, or
in the user's program (``export``). So it imports nothing but TensorFlow, numpy and the standard
library, and itself by relative imports.
"""

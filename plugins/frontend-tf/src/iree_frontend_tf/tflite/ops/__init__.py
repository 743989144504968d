"""Lowerings of TFLite operators, one family per file (see :mod:`iree_frontend_tf.tflite.registry`)."""

"""Frontend for TensorFlow Lite models (``.tflite`` files)."""

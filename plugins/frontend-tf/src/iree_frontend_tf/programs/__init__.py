"""TensorFlow programs (SavedModel, Keras, ``tf.function``). TensorFlow has processes of its own."""

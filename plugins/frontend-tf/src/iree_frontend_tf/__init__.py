"""Frontends for TensorFlow programs (SavedModel, Keras, ``tf.function``) and ``.tflite`` files.

::

    import iree_frontend_tf

    model = iree_frontend_tf.export(keras_model)
    model.save("model.vmfb")
    y = model(x)

Importing this package imports nothing else; every name below is loaded when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from iree_core.lazy import lazy_names

if TYPE_CHECKING:
    from iree_frontend_tf.programs.exporting import CompiledModel as CompiledModel
    from iree_frontend_tf.programs.exporting import export as export

_HOMES = {
    "CompiledModel": "iree_frontend_tf.programs.exporting",
    "export": "iree_frontend_tf.programs.exporting",
}

__all__ = ["CompiledModel", "export"]

__getattr__, __dir__ = lazy_names(globals(), _HOMES)

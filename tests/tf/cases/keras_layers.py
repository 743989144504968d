"""Layers of Keras, each as a model with one input."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tests.tf.cases import Table, f, i

L = keras.layers
_FLAT, _SERIES, _IMAGE = f(3, 8), f(3, 6, 8), f(2, 8, 8, 4)
_VOLUME = f(2, 4, 6, 6, 2)


def _layer(make: Callable[[], Any], argument: np.ndarray) -> Callable[..., Any]:
    """Return a function that calls the layer, with weights that depend on its shapes only."""
    made: list[Any] = []

    def call(x: Any) -> Any:
        if not made:
            keras.utils.set_random_seed(1)
            with tf.init_scope():
                layer = make()
                layer(tf.constant(argument))
            made.append(layer)
        return made[0](x)

    return call


def _model(make: Callable[[Any], Any]) -> Callable[[], Any]:
    """Return what makes a layer of several inputs a function of one."""
    return lambda: L.Lambda(make)


TABLE: Table = {
    name: (_layer(make, argument), argument)
    for name, (make, argument) in {
        "dense": (lambda: L.Dense(4, "relu"), _FLAT),
        "einsum_dense": (lambda: L.EinsumDense("abc,cd->abd", (None, 6), bias_axes="d"), _SERIES),
        "embedding": (lambda: L.Embedding(9, 4), i(3, 6)),
        "prelu": (L.PReLU, _FLAT),
        "conv1d": (lambda: L.Conv1D(5, 3, padding="causal", dilation_rate=2), _SERIES),
        "conv2d": (lambda: L.Conv2D(5, 3, 2, "same"), _IMAGE),
        "conv2d_groups": (lambda: L.Conv2D(6, 3, groups=2), _IMAGE),
        "conv2d_dilated": (lambda: L.Conv2D(6, 3, dilation_rate=2), _IMAGE),
        "conv2d_first": (lambda: L.Conv2D(6, 3, data_format="channels_first"), f(2, 4, 8, 8)),
        "conv3d": (lambda: L.Conv3D(3, 3, padding="same"), _VOLUME),
        "conv1d_transpose": (lambda: L.Conv1DTranspose(4, 3, 2), _SERIES),
        "conv2d_transpose": (lambda: L.Conv2DTranspose(4, 3, 2, "same"), _IMAGE),
        "conv3d_transpose": (lambda: L.Conv3DTranspose(3, 3, 2, "same"), _VOLUME),
        "depthwise_1d": (lambda: L.DepthwiseConv1D(3), _SERIES),
        "depthwise": (lambda: L.DepthwiseConv2D(3, 2, "same"), _IMAGE),
        "separable": (lambda: L.SeparableConv2D(5, 3), _IMAGE),
        "separable_1d": (lambda: L.SeparableConv1D(5, 3), _SERIES),
        **{
            f"{kind}_pooling_{n}": (
                lambda kind=kind, n=n: getattr(L, f"{kind}Pooling{n}D")(2, padding="same"),
                {1: _SERIES, 2: _IMAGE, 3: _VOLUME}[n],
            )
            for kind in ("Max", "Average")
            for n in (1, 2, 3)
        },
        **{
            f"global_{kind}_{n}": (
                lambda kind=kind, n=n: getattr(L, f"Global{kind}Pooling{n}D")(),
                {1: _SERIES, 2: _IMAGE, 3: _VOLUME}[n],
            )
            for kind in ("Max", "Average")
            for n in (1, 2, 3)
        },
        "adaptive_pooling": (lambda: L.AdaptiveAveragePooling2D(3), _IMAGE),
        "batch_norm": (L.BatchNormalization, _IMAGE),
        "layer_norm": (L.LayerNormalization, _SERIES),
        "group_norm": (lambda: L.GroupNormalization(2), _IMAGE),
        "rms_norm": (L.RMSNormalization, _SERIES),
        "unit_norm": (L.UnitNormalization, _FLAT),
        "spectral_norm": (lambda: L.SpectralNormalization(L.Conv2D(4, 3)), _IMAGE),
        "up_nearest": (lambda: L.UpSampling2D(2), _IMAGE),
        "up_bilinear": (lambda: L.UpSampling2D(2, interpolation="bilinear"), _IMAGE),
        "up_bicubic": (lambda: L.UpSampling2D(2, interpolation="bicubic"), _IMAGE),
        "up_1d": (lambda: L.UpSampling1D(2), _SERIES),
        "up_3d": (lambda: L.UpSampling3D(2), _VOLUME),
        "zero_padding": (lambda: L.ZeroPadding2D(((1, 2), (0, 1))), _IMAGE),
        "cropping": (lambda: L.Cropping2D(((1, 2), (0, 1))), _IMAGE),
        "reshape": (lambda: L.Reshape((-1, 4)), _SERIES),
        "permute": (lambda: L.Permute((2, 1)), _SERIES),
        "repeat_vector": (lambda: L.RepeatVector(3), _FLAT),
        "flatten": (L.Flatten, _IMAGE),
        "resizing": (lambda: L.Resizing(5, 9), _IMAGE),
        "resizing_crop": (lambda: L.Resizing(5, 9, crop_to_aspect_ratio=True), _IMAGE),
        "resizing_pad": (lambda: L.Resizing(5, 9, pad_to_aspect_ratio=True), _IMAGE),
        "rescaling": (lambda: L.Rescaling(2.0, 1.0), _IMAGE),
        "center_crop": (lambda: L.CenterCrop(4, 4), _IMAGE),
        "normalization": (lambda: L.Normalization(mean=0.5, variance=2.0), _FLAT),
        "discretization": (lambda: L.Discretization([-0.5, 0.0, 0.5]), _FLAT),
        "category": (lambda: L.CategoryEncoding(5, "multi_hot"), i(3, 4)),
        "random_flip": (lambda: L.RandomFlip(), _IMAGE),
        "dropout": (lambda: L.Dropout(0.5), _FLAT),
        "gaussian_noise": (lambda: L.GaussianNoise(0.5), _FLAT),
        "simple_rnn": (lambda: L.SimpleRNN(5), _SERIES),
        "lstm": (lambda: L.LSTM(5), _SERIES),
        "lstm_sequences": (lambda: L.LSTM(5, return_sequences=True, return_state=True), _SERIES),
        "lstm_unrolled": (lambda: L.LSTM(5, unroll=True), _SERIES),
        "gru": (lambda: L.GRU(5), _SERIES),
        "gru_backwards": (lambda: L.GRU(5, return_sequences=True, go_backwards=True,
                                        reset_after=False), _SERIES),
        "bidirectional": (lambda: L.Bidirectional(L.LSTM(5, return_sequences=True)), _SERIES),
        "rnn_cells": (lambda: L.RNN([L.GRUCell(4), L.LSTMCell(5)]), _SERIES),
        "conv_lstm": (lambda: L.ConvLSTM2D(3, 3, padding="same"), f(2, 3, 6, 6, 2)),
        "time_distributed": (lambda: L.TimeDistributed(L.Dense(4)), _SERIES),
        "time_distributed_conv": (lambda: L.TimeDistributed(L.Conv2D(3, 3)), f(2, 3, 6, 6, 2)),
        "attention": (_model(lambda x: L.Attention()([x, x])), _SERIES),
        "attention_causal": (_model(lambda x: L.Attention()([x, x], use_causal_mask=True)),
                             _SERIES),
        "multi_head": (lambda: SelfAttention(L.MultiHeadAttention(2, 4)), _SERIES),
        "multi_head_causal": (
            lambda: SelfAttention(L.MultiHeadAttention(2, 4), use_causal_mask=True), _SERIES,
        ),
        "grouped_query": (lambda: SelfAttention(L.GroupedQueryAttention(4, 4, 2)), _SERIES),
        "masked_lstm": (lambda: keras.Sequential([L.Masking(), L.LSTM(4)]),
                        _SERIES * (np.arange(6) < 4)[:, None].astype(np.float32)),
        "masked_embedding": (lambda: keras.Sequential([L.Embedding(9, 4, mask_zero=True),
                                                       L.GRU(4), L.Dense(2)]), i(3, 6)),
        "merge": (_model(lambda x: (L.add([x, x]), L.multiply([x, x]), L.maximum([x, -x]),
                                    L.average([x, x]), L.subtract([x, x]),
                                    L.concatenate([x, x]), L.Dot(1)([x, x]))), _FLAT),
        "mel": (lambda: L.MelSpectrogram(32, 16, 16, 8000, 6), f(2, 128, low=0)),
        "stft": (lambda: L.STFTSpectrogram("log", 16, 8, 16), f(2, 128, 1)),
        "identity": (L.Identity, _FLAT),
        "activity": (lambda: L.Activation("hard_swish"), _FLAT),
        "softmax_mask": (L.Softmax, _SERIES),
        "max_num_bounding": (lambda: L.ReLU(6.0, 0.1, 0.2), _FLAT),
    }.items()
}  # fmt: skip


class SelfAttention(L.Layer):
    """Attention of a sequence to itself."""

    def __init__(self, inner: Any, **options: Any) -> None:
        super().__init__()
        self.inner, self.options = inner, options

    def call(self, x: Any) -> Any:
        return self.inner(x, x, **self.options)

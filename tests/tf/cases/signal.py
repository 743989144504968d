"""Fourier transforms, frames and windows: ``tf.signal``."""

from __future__ import annotations

import tensorflow as tf
from tests.tf.cases import Table, c, f

m = tf.signal
_X = f(3, 16)
_WAVE = f(2, 64)

TABLE: Table = {
    "fft": (m.fft, c(3, 16)),
    "fft_odd": (m.fft, c(3, 15)),
    "ifft": (m.ifft, c(3, 16)),
    "rfft": (m.rfft, _X),
    "rfft_length": (lambda x: m.rfft(x, [20]), _X),
    "rfft_shorter": (lambda x: m.rfft(x, [8]), _X),
    "irfft": (m.irfft, c(3, 9)),
    "irfft_length": (lambda x: m.irfft(x, [16]), c(3, 9)),
    "fft2d": (m.fft2d, c(3, 4, 8)),
    "ifft2d": (m.ifft2d, c(3, 4, 8)),
    "fft3d": (m.fft3d, c(2, 4, 4, 8)),
    "rfft2d": (m.rfft2d, f(3, 4, 8)),
    "irfft2d": (m.irfft2d, c(3, 4, 5)),
    "fftshift": (lambda x: (m.fftshift(x, 1), m.ifftshift(x, 1)), _X),
    "dct": (m.dct, _X),
    "dct_1": (lambda x: m.dct(x, 1), _X),
    "dct_3": (lambda x: m.dct(x, 3), _X),
    "dct_4": (lambda x: m.dct(x, 4), _X),
    "idct": (m.idct, _X),
    "mdct": (lambda x: m.mdct(x, 8), _X),
    "inverse_mdct": (lambda x: m.inverse_mdct(x), f(2, 4, 8)),
    "frame": (lambda x: m.frame(x, 8, 4), _WAVE),
    "frame_pad": (lambda x: m.frame(x, 10, 4, pad_end=True), _WAVE),
    "overlap_and_add": (lambda x: m.overlap_and_add(x, 4), f(2, 5, 8)),
    "stft": (lambda x: m.stft(x, 16, 8), _WAVE),
    "stft_pad": (lambda x: m.stft(x, 12, 8, 16, pad_end=True), _WAVE),
    "inverse_stft": (lambda x: m.inverse_stft(x, 16, 8), c(2, 7, 9)),
    "mel": (lambda x: tf.tensordot(
        tf.abs(m.stft(x, 16, 8)), m.linear_to_mel_weight_matrix(6, 9, 8000), 1), _WAVE),
    "mfcc": (lambda x: m.mfccs_from_log_mel_spectrograms(tf.math.log(tf.abs(x) + 1e-3)), _X),
    "windows": (lambda x: (x * m.hann_window(16), x * m.hamming_window(16), x
                           * m.kaiser_window(16), x * m.vorbis_window(16)), _X),
}  # fmt: skip

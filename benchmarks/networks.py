"""Networks of the comparison beyond the zoo of the tests: decoding, a U-Net, quantised ones.

``python networks.py NAME OUT.onnx`` writes one; ``workloads.py`` calls it in a process of its
own, so that torch's memory is given back. Architectures are real, weights random.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "models"))
from zoo import BATCH, PAST, SEQ, TEXT, ZOO, Entry, _cache_inputs, _cached, export

LLAMA_LAYERS, LLAMA_HEADS, LLAMA_SIZE = 12, 12, 64


def _llama_cache() -> tuple[Any, Callable[..., Any]]:
    """Return a Llama of 134 million parameters with grouped-query attention and its cache."""
    import transformers

    config = transformers.LlamaConfig(
        vocab_size=32000, hidden_size=LLAMA_HEADS * LLAMA_SIZE, intermediate_size=2048,
        num_hidden_layers=LLAMA_LAYERS, num_attention_heads=LLAMA_HEADS, num_key_value_heads=4,
    )  # fmt: skip
    return _cached(transformers.LlamaForCausalLM(config), LLAMA_LAYERS)


def _whisper_encoder() -> tuple[Any, Callable[..., Any]]:
    """Return the encoder of Whisper tiny."""
    import transformers

    config = transformers.WhisperConfig(
        encoder_layers=4, d_model=384, encoder_attention_heads=6, encoder_ffn_dim=1536
    )
    model = transformers.WhisperModel(config).encoder
    return model, lambda m, features: m(features).last_hidden_state


def _unet() -> tuple[Any, Callable[..., Any]]:
    from unet import UNet

    return UNet(), lambda m, sample, timestep: m(sample, timestep)


def _decoding(entry: Entry, past: int) -> Entry:
    return replace(entry, sizes={BATCH: 1, SEQ: 1, PAST: past})


_LLAMA = Entry(_llama_cache, {"input_ids": TEXT, **_cache_inputs(LLAMA_LAYERS, 4, LLAMA_SIZE)}, {})
EXPORTED: dict[str, Entry] = {
    "gpt2-decode-64": _decoding(ZOO["gpt2-cache"], 64),
    "gpt2-decode-1000": _decoding(ZOO["gpt2-cache"], 1000),
    "llama-decode-64": _decoding(_LLAMA, 64),
    "llama-decode-1000": _decoding(_LLAMA, 1000),
    "whisper-encoder": Entry(
        _whisper_encoder, {"input_features": ("float32", (BATCH, 80, 3000))}, {BATCH: 1}
    ),
    "unet": Entry(
        _unet,
        {"sample": ("float32", (BATCH, 4, 64, 64)), "timestep": ("float32", (BATCH,))},
        {BATCH: 1},
    ),
}


class _Calibration:
    """A few random images, from which the ranges of the activations are found."""

    def __init__(self, entry: Entry) -> None:
        self._examples: Iterator[dict[str, np.ndarray]] = (entry.example(seed=n) for n in range(2))

    def get_next(self) -> dict[str, np.ndarray] | None:
        """Return the next example, None after the last."""
        return next(self._examples, None)


def _quantise_statically(name: str, path: Path) -> None:
    """Write a network of the zoo with bytes as weights and activations (QDQ form)."""
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as folder:
        plain, prepared = Path(folder) / "plain.onnx", Path(folder) / "prepared.onnx"
        export(name, plain, dynamic=False)
        quant_pre_process(str(plain), str(prepared), skip_symbolic_shape=True)
        quantize_static(
            str(prepared), str(path), _Calibration(ZOO[name]), quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8, per_channel=True,
        )  # fmt: skip


def _quantise_dynamically(name: str, path: Path) -> None:
    """Write a network of the zoo whose products are of bytes, scaled at run time."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "plain.onnx"
        export(name, plain, dynamic=False)
        quantize_dynamic(str(plain), str(path), weight_type=QuantType.QInt8)


QUANTISED: dict[str, Callable[[Path], None]] = {
    "resnet50-int8": lambda path: _quantise_statically("resnet50", path),
    "bert-int8": lambda path: _quantise_dynamically("bert", path),
}


def main() -> None:
    """Write one network."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=[*EXPORTED, *QUANTISED])
    parser.add_argument("path", type=Path)
    options = parser.parse_args()
    if options.name in QUANTISED:
        logging.disable(logging.WARNING)
        QUANTISED[options.name](options.path)
        return
    ZOO.update(EXPORTED)
    export(options.name, options.path, dynamic=False)


if __name__ == "__main__":
    main()

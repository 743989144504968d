"""The models of the end-to-end tests and benchmarks: real architectures, random weights.

Every model is built from its ``transformers`` configuration (nothing is downloaded) and exported
with ``torch.onnx.export(dynamo=True)``, with static shapes or with dynamic batch and, for text,
sequence length. ``python zoo.py NAME OUT.onnx [--dynamic]`` exports one.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

BATCH, SEQ, PAST = "batch", "seq", "past"


@dataclass(frozen=True)
class Entry:
    """One model.

    Attributes:
        build: returns the torch module and the function that calls it with plain tensors.
        inputs: name -> (dtype, shape); text shapes use the names BATCH, SEQ and PAST.
        sizes: the sizes of those names for the static export.
        high: exclusive upper bound of integer inputs.
    """

    build: Callable[[], tuple[Any, Callable[..., Any]]]
    inputs: dict[str, tuple[str, tuple[int | str, ...]]]
    sizes: dict[str, int]
    high: int = 1000

    def example(self, sizes: dict[str, int] | None = None, seed: int = 0) -> dict[str, np.ndarray]:
        """Return random inputs by name, for the static sizes or those given."""
        sizes = {**self.sizes, **(sizes or {})}
        rng = np.random.default_rng(seed)
        arrays = {}
        for name, (dtype, shape) in self.inputs.items():
            concrete = tuple(sizes[d] if isinstance(d, str) else d for d in shape)
            if "+" in "".join(str(d) for d in shape):
                raise ValueError(f"{name}: sums of dimensions are not supported")
            if name == "attention_mask":
                arrays[name] = np.ones(concrete, dtype)
            elif dtype == "int64":
                arrays[name] = rng.integers(0, self.high, concrete)
            else:
                arrays[name] = rng.standard_normal(concrete, np.float32)
        return arrays


def _image(model: str, config: str, **options: Any) -> Entry:
    def build() -> tuple[Any, Callable[..., Any]]:
        import transformers

        settings = getattr(transformers, config)(num_labels=1000, **options)
        return getattr(transformers, model)(settings), lambda m, x: m(x).logits

    return Entry(build, {"pixel_values": ("float32", (BATCH, 3, 224, 224))}, {BATCH: 1})


def _bert() -> tuple[Any, Callable[..., Any]]:
    import transformers

    model = transformers.BertModel(transformers.BertConfig())
    return model, lambda m, ids, mask: m(input_ids=ids, attention_mask=mask).last_hidden_state


def _gpt2() -> tuple[Any, Callable[..., Any]]:
    import transformers

    model = transformers.GPT2LMHeadModel(transformers.GPT2Config())
    return model, lambda m, ids: m(input_ids=ids, use_cache=False).logits


def _cached(model: Any, layers: int) -> tuple[Any, Callable[..., Any]]:
    """Return a decoder whose key-value cache goes in and comes out as plain tensors."""
    from transformers.cache_utils import DynamicCache

    def call(m: Any, ids: Any, *past: Any) -> tuple[Any, ...]:
        cache = DynamicCache()
        for layer in range(layers):
            cache.update(past[2 * layer], past[2 * layer + 1], layer)
        out = m(input_ids=ids, past_key_values=cache, use_cache=True)
        flat = [t for layer in out.past_key_values.layers for t in (layer.keys, layer.values)]
        return (out.logits, *flat)

    return model, call


def _cache_inputs(layers: int, heads: int, size: int) -> dict[str, tuple[str, tuple]]:
    shape = (BATCH, heads, PAST, size)
    names = [f"past_{kind}_{layer}" for layer in range(layers) for kind in ("key", "value")]
    return dict.fromkeys(names, ("float32", shape))


def _gpt2_cache() -> tuple[Any, Callable[..., Any]]:
    import transformers

    return _cached(transformers.GPT2LMHeadModel(transformers.GPT2Config()), 12)


def _llama() -> tuple[Any, Callable[..., Any]]:
    import transformers

    config = transformers.LlamaConfig(
        vocab_size=1000, hidden_size=256, intermediate_size=688, num_hidden_layers=4,
        num_attention_heads=8, num_key_value_heads=4,
    )  # fmt: skip
    model = transformers.LlamaForCausalLM(config)
    return model, lambda m, ids: m(input_ids=ids, use_cache=False).logits


def _t5() -> tuple[Any, Callable[..., Any]]:
    import transformers

    model = transformers.T5ForConditionalGeneration(transformers.T5Config())
    return (
        model,
        lambda m, ids, decoder: m(input_ids=ids, decoder_input_ids=decoder, use_cache=False).logits,
    )


def _whisper() -> tuple[Any, Callable[..., Any]]:
    import transformers

    config = transformers.WhisperConfig(
        encoder_layers=4, decoder_layers=4, d_model=384, encoder_attention_heads=6,
        decoder_attention_heads=6, encoder_ffn_dim=1536, decoder_ffn_dim=1536,
    )  # fmt: skip
    model = transformers.WhisperForConditionalGeneration(config)
    return (
        model,
        lambda m, features, decoder: (
            m(input_features=features, decoder_input_ids=decoder, use_cache=False).logits
        ),
    )


TEXT = ("int64", (BATCH, SEQ))
ZOO: dict[str, Entry] = {
    "resnet50": _image("ResNetForImageClassification", "ResNetConfig"),
    "mobilenetv2": _image("MobileNetV2ForImageClassification", "MobileNetV2Config"),
    "vit": _image("ViTForImageClassification", "ViTConfig"),
    "bert": Entry(_bert, {"input_ids": TEXT, "attention_mask": TEXT}, {BATCH: 1, SEQ: 128}),
    "gpt2": Entry(_gpt2, {"input_ids": TEXT}, {BATCH: 1, SEQ: 64}),
    "gpt2-cache": Entry(
        _gpt2_cache, {"input_ids": TEXT, **_cache_inputs(12, 12, 64)}, {BATCH: 1, SEQ: 3, PAST: 16}
    ),
    "llama": Entry(_llama, {"input_ids": TEXT}, {BATCH: 1, SEQ: 32}),
    "t5": Entry(
        _t5, {"input_ids": TEXT, "decoder_input_ids": ("int64", (BATCH, "decoder_seq"))},
        {BATCH: 1, SEQ: 32, "decoder_seq": 16},
    ),
    "whisper": Entry(
        _whisper,
        {
            "input_features": ("float32", (BATCH, 80, 3000)),
            "decoder_input_ids": ("int64", (BATCH, "decoder_seq")),
        },
        {BATCH: 1, "decoder_seq": 8},
    ),
}  # fmt: skip


def export(name: str, path: Path, *, dynamic: bool) -> None:
    """Write the ONNX file of a model; its weights are random but always the same."""
    import torch

    class Plain(torch.nn.Module):
        def __init__(self, model: Any, call: Callable[..., Any]) -> None:
            super().__init__()
            self.model, self.call = model, call

        def forward(self, *args: Any) -> Any:
            return self.call(self.model, *args)

    entry = ZOO[name]
    torch.manual_seed(0)
    model, call = entry.build()
    # An export with a dynamic size of 1 would specialise it.
    sizes = {d: max(2, n) for d, n in entry.sizes.items()} if dynamic else entry.sizes
    arrays = [torch.from_numpy(a) for a in entry.example(sizes).values()]
    shapes = None
    if dynamic:
        dims = dict.fromkeys(entry.sizes, torch.export.Dim.DYNAMIC)
        per_input = tuple(
            {axis: dims[d] for axis, d in enumerate(shape) if isinstance(d, str)}
            for _, shape in entry.inputs.values()
        )
        shapes = (per_input,)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            Plain(model.eval(), call), tuple(arrays), dynamo=True, dynamic_shapes=shapes,
            input_names=list(entry.inputs), external_data=False, verbose=False,
        )  # fmt: skip
        program.save(path)


def main() -> None:
    """Export one model from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=ZOO)
    parser.add_argument("path", type=Path)
    parser.add_argument("--dynamic", action="store_true")
    options = parser.parse_args()
    export(options.name, options.path, dynamic=options.dynamic)


if __name__ == "__main__":
    main()

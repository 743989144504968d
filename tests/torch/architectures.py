"""Architectures of ``transformers`` beside those of the zoo, small, from their configurations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

BATCH, SEQ, TARGET = "batch", "seq", "target"
TEXT: tuple[int | str, ...] = (BATCH, SEQ)
IMAGE: tuple[int | str, ...] = (BATCH, 3, 32, 32)
_WIDTHS = {
    "vocab_size": 100,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}
_BART = {
    "vocab_size": 100,
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 2,
}
_AUDIO = {
    "conv_dim": (16, 16, 16),
    "conv_kernel": (10, 3, 3),
    "conv_stride": (5, 2, 2),
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}


@dataclass(frozen=True)
class Architecture:
    """One network.

    Attributes:
        model: the class; its name without the head and with ``Config`` is not relied upon.
        config: the configuration's class.
        options: of the configuration.
        inputs: shapes by argument; integers where the name ends in ``ids``.
        output: the attribute of the result that is compared.
    """

    model: str
    config: str
    options: dict[str, Any]
    inputs: dict[str, tuple[int | str, ...]]
    output: str = "logits"

    def build(self) -> torch.nn.Module:
        """Return the module with random weights; it takes tensors in the order of ``inputs``."""
        import transformers

        torch.manual_seed(0)
        config = getattr(transformers, self.config)(**self.options)
        model = getattr(transformers, self.model)(config).eval()
        return Plain(model, list(self.inputs), self.output)

    def example(self, sizes: dict[str, int]) -> tuple[torch.Tensor, ...]:
        """Return random inputs."""

        def tensor(name: str, shape: tuple[int | str, ...]) -> torch.Tensor:
            concrete = [sizes[d] if isinstance(d, str) else d for d in shape]
            if name.endswith("ids"):
                return torch.randint(3, 100, concrete)
            return torch.randn(concrete)

        return tuple(tensor(name, shape) for name, shape in self.inputs.items())

    def open_sizes(self, dim: Callable[[str], Any]) -> tuple[dict[int, Any], ...]:
        """Return ``dynamic_shapes``; ``dim`` makes the size of a name."""
        return tuple(
            {axis: dim(size) for axis, size in enumerate(shape) if isinstance(size, str)}
            for shape in self.inputs.values()
        )


class Plain(torch.nn.Module):
    """Calls a model with tensors and returns one tensor."""

    def __init__(self, model: torch.nn.Module, names: list[str], output: str) -> None:
        super().__init__()
        self.model, self.names, self.output = model, names, output
        self.options = {"use_cache": False} if hasattr(model.config, "use_cache") else {}

    def forward(self, *args: torch.Tensor) -> torch.Tensor:
        """Call the model."""
        given = dict(zip(self.names, args, strict=True))
        return getattr(self.model(**given, **self.options), self.output)


ARCHITECTURES = {
    "distilbert": Architecture(
        "DistilBertForMaskedLM",
        "DistilBertConfig",
        {"vocab_size": 100, "dim": 32, "hidden_dim": 64, "n_layers": 2, "n_heads": 4},
        {"input_ids": TEXT},
    ),
    "albert": Architecture(
        "AlbertForMaskedLM", "AlbertConfig", dict(_WIDTHS, embedding_size=16), {"input_ids": TEXT}
    ),
    "roberta": Architecture(
        "RobertaForMaskedLM", "RobertaConfig", dict(_WIDTHS), {"input_ids": TEXT}
    ),
    "mistral": Architecture(
        "MistralForCausalLM",
        "MistralConfig",
        dict(_WIDTHS, num_key_value_heads=2, sliding_window=8),
        {"input_ids": TEXT},
    ),
    "qwen2": Architecture(
        "Qwen2ForCausalLM",
        "Qwen2Config",
        dict(_WIDTHS, num_key_value_heads=2),
        {"input_ids": TEXT},
    ),
    "gemma2": Architecture(
        "Gemma2ForCausalLM",
        "Gemma2Config",
        dict(_WIDTHS, num_key_value_heads=2, head_dim=8, sliding_window=8),
        {"input_ids": TEXT},
    ),
    "phi": Architecture("PhiForCausalLM", "PhiConfig", dict(_WIDTHS), {"input_ids": TEXT}),
    "opt": Architecture(
        "OPTForCausalLM",
        "OPTConfig",
        {
            "vocab_size": 100,
            "hidden_size": 32,
            "ffn_dim": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "word_embed_proj_dim": 32,
        },
        {"input_ids": TEXT},
    ),
    "bloom": Architecture(
        "BloomForCausalLM",
        "BloomConfig",
        {"vocab_size": 100, "hidden_size": 32, "n_layer": 2, "n_head": 4},
        {"input_ids": TEXT},
    ),
    "bart": Architecture(
        "BartForConditionalGeneration",
        "BartConfig",
        dict(_BART),
        {"input_ids": TEXT, "decoder_input_ids": (BATCH, TARGET)},
    ),
    "deit": Architecture(
        "DeiTForImageClassification",
        "DeiTConfig",
        {
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "image_size": 32,
            "patch_size": 8,
            "num_labels": 10,
        },
        {"pixel_values": IMAGE},
    ),
    "convnext": Architecture(
        "ConvNextForImageClassification",
        "ConvNextConfig",
        {"hidden_sizes": [16, 32], "depths": [1, 1], "num_stages": 2, "num_labels": 10},
        {"pixel_values": IMAGE},
    ),
    "swin": Architecture(
        "SwinForImageClassification",
        "SwinConfig",
        {
            "image_size": 32,
            "patch_size": 2,
            "embed_dim": 16,
            "depths": [2, 2],
            "num_heads": [2, 4],
            "window_size": 4,
            "num_labels": 10,
        },
        {"pixel_values": IMAGE},
    ),
    "segformer": Architecture(
        "SegformerForSemanticSegmentation",
        "SegformerConfig",
        {
            "num_encoder_blocks": 2,
            "depths": [1, 1],
            "sr_ratios": [2, 1],
            "hidden_sizes": [16, 32],
            "patch_sizes": [7, 3],
            "strides": [4, 2],
            "num_attention_heads": [1, 2],
            "mlp_ratios": [2, 2],
            "decoder_hidden_size": 16,
            "num_labels": 10,
        },
        {"pixel_values": IMAGE},
    ),
    "wav2vec2": Architecture(
        "Wav2Vec2ForCTC",
        "Wav2Vec2Config",
        dict(_WIDTHS, **_AUDIO),
        {"input_values": (BATCH, 2000)},
    ),
    "ast": Architecture(
        "ASTForAudioClassification",
        "ASTConfig",
        {
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "max_length": 64,
            "num_mel_bins": 32,
            "num_labels": 10,
        },
        {"input_values": (BATCH, 64, 32)},
    ),
}

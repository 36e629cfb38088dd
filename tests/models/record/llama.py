"""Llama of transformers and its relatives, on padded batches: grouped queries, both ways to write the rotary
embedding's settings, tied and untied heads."""

import torch
from common import record, seeded
from transformers import AutoConfig, AutoModelForCausalLM

SIZES = dict(
    vocab_size=30,
    hidden_size=16,
    intermediate_size=20,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=64,
)
TOKENS = torch.tensor([[1, 7, 3, 9, 29, 2, 8], [4, 4, 28, 2, 6, 0, 0], [5, 6, 2, 0, 0, 0, 0]])
RIGHT = (torch.arange(7) < torch.tensor([[7], [5], [3]])).long()
LEFT = RIGHT.flip(1)


def run(case, seed, mask, settings, theirs=None):
    settings = SIZES | settings
    kind = settings.pop("model_type")
    config = AutoConfig.for_model(kind, **(theirs or settings), attn_implementation="eager")
    model = seeded(AutoModelForCausalLM.from_config(config), seed)
    # Nor the first token of a text, which padding on its left would predict.
    after = mask * torch.cat([mask[:, :1], mask[:, :-1]], 1)
    labels = torch.where(after.bool(), TOKENS, torch.tensor(-100))
    out = model(TOKENS, attention_mask=mask, labels=labels)
    inputs = {"tokens": TOKENS, "mask": mask, "labels": labels}
    outputs = {"logits": out.logits * mask[..., None]}
    # A tied head has no tensor of its own, as in published files.
    record(case, {"model_type": kind, **settings}, model, inputs, outputs, out.loss, buffers=False)


llama3 = dict(
    rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=128
)
wide = SIZES | dict(num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=256)
old = wide | dict(model_type="llama", rope_theta=10000.0, rope_scaling=llama3)
new = wide | dict(rope_parameters=llama3 | dict(rope_theta=10000.0))
run("llama", 1, RIGHT, old, new)
run("llama_tied", 2, LEFT, dict(model_type="llama", tie_word_embeddings=True, attention_bias=True, mlp_bias=True))
run("qwen2", 3, RIGHT, dict(model_type="qwen2", rope_parameters=dict(rope_type="default", rope_theta=1000.0)))
run("qwen3", 4, LEFT, dict(model_type="qwen3", head_dim=6, tie_word_embeddings=True, hidden_act="gelu"))
run("smollm3", 5, RIGHT, dict(model_type="smollm3", no_rope_layer_interval=2, pad_token_id=0))

"""BERT of transformers with a head for texts and one for tokens, on a padded batch."""

import torch
from common import record, seeded
from transformers import BertConfig, BertForSequenceClassification, BertForTokenClassification
from transformers import BertModel

SIZES = dict(
    vocab_size=40,
    hidden_size=16,
    num_hidden_layers=2,
    num_attention_heads=4,
    intermediate_size=24,
    max_position_embeddings=12,
)
TOKENS = torch.tensor([[1, 7, 3, 9, 30, 2], [4, 4, 39, 2, 0, 0], [5, 6, 2, 0, 0, 0]])
MASK = (torch.arange(6) < torch.tensor([[6], [4], [3]])).long()
TYPES = torch.tensor([[0, 0, 0, 1, 1, 1], [0, 0, 1, 1, 0, 0], [0, 0, 0, 0, 0, 0]])
INPUTS = {"tokens": TOKENS, "mask": MASK, "types": TYPES}


def config(**settings):
    return BertConfig(**SIZES, **settings, attn_implementation="eager")


def run(case, model, settings, labels, **loss):
    out = model(TOKENS, attention_mask=MASK, token_type_ids=TYPES, labels=labels)
    inputs = INPUTS | {"labels": labels}
    record(case, {"model_type": "bert", **SIZES, **settings}, model, inputs, {"logits": out.logits}, out.loss)


if __name__ == "__main__":
    body = seeded(BertModel(config(), add_pooling_layer=False), 1)
    hidden = body(TOKENS, attention_mask=MASK, token_type_ids=TYPES).last_hidden_state
    # Padding has no meaning, so the loss leaves it out.
    loss = (hidden * MASK[..., None]).square().mean()
    record("bert", {"model_type": "bert", **SIZES}, body, INPUTS, {"hidden": hidden}, loss)

    settings = {"hidden_act": "gelu_new", "layer_norm_eps": 1e-5}
    model = seeded(BertForSequenceClassification(config(num_labels=3, **settings)), 2)
    run("bert_text", model, settings, torch.tensor([0, 2, 1]))

    settings = {"hidden_act": "relu"}
    model = seeded(BertForTokenClassification(config(num_labels=5, **settings)), 3)
    labels = torch.where(MASK.bool(), TOKENS % 5, torch.tensor(-100))
    run("bert_tokens", model, settings, labels)

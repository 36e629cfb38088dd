"""DistilBERT of transformers with a head for texts and one for tokens, on a padded batch."""

import torch
from bert import MASK, TOKENS
from common import record, seeded
from transformers import DistilBertConfig, DistilBertForSequenceClassification
from transformers import DistilBertForTokenClassification

SIZES = dict(vocab_size=40, dim=16, n_layers=2, n_heads=4, hidden_dim=24, max_position_embeddings=12)


def run(case, kind, seed, labels, classes, **settings):
    config = DistilBertConfig(**SIZES, **settings, num_labels=classes, attn_implementation="eager")
    model = seeded(kind(config), seed)
    out = model(TOKENS, attention_mask=MASK, labels=labels)
    inputs = {"tokens": TOKENS, "mask": MASK, "labels": labels}
    settings = {"model_type": "distilbert", **SIZES, **settings}
    record(case, settings, model, inputs, {"logits": out.logits}, out.loss)


run("distilbert_text", DistilBertForSequenceClassification, 4, torch.tensor([0, 2, 1]), 3)
labels = torch.where(MASK.bool(), TOKENS % 5, torch.tensor(-100))
run("distilbert_tokens", DistilBertForTokenClassification, 5, labels, 5, activation="relu")

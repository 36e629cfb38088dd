"""Reads what the example saved as other programs do, and prints what `--predict-file` prints.

    python examples/finetune/check.py FOLDER < texts

FOLDER is the example's `--out`; texts are lines. Needs torch, transformers and safetensors. Of the tensors in the
file, each must be one of the model, and none of the model may be missing, except a pooler that is not used.
"""

import json
import pathlib
import sys

import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification


def model_of(folder, settings):
    model = BertForSequenceClassification(BertConfig(**settings)).eval()
    tensors = load_file(folder / "model.safetensors")
    missing, unexpected = model.load_state_dict(tensors, strict=False)
    unused = {"bert.pooler.dense.weight", "bert.pooler.dense.bias"}
    mean = settings["classifier_pooling"] == "mean"
    assert not unexpected, unexpected
    assert set(missing) <= (unused if mean else set()), missing
    print(f"{len(tensors)} tensors, all of the model", file=sys.stderr)
    return model, mean


def scores(model, mean, batch):
    if not mean:
        return model(**batch).logits
    hidden = model.bert(**batch).last_hidden_state
    mask = batch["attention_mask"].unsqueeze(-1)
    return model.classifier((hidden * mask).sum(1) / mask.sum(1))


def main():
    folder = pathlib.Path(sys.argv[1])
    settings = json.loads((folder / "config.json").read_text())
    model, mean = model_of(folder, settings)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    classes = [settings["id2label"][str(at)] for at in range(len(settings["id2label"]))]
    wide = max(map(len, classes))
    for text in filter(str.strip, sys.stdin.read().splitlines()):
        with torch.no_grad():
            shares = scores(model, mean, tokenizer(text, truncation=True, max_length=128, return_tensors="pt"))
        share, best = shares.softmax(-1)[0].max(0)
        print(f"{classes[best]:{wide}}  {100 * share:5.1f} %  {text}")


main()

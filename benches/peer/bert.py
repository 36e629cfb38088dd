"""MiniLM in transformers, driven line by line by `cargo bench --bench bert`: needs torch and transformers.

Each line on stdin names a shape (`32x64`: 32 texts of 64 tokens), what is frozen (a number of layers with the
embeddings in front, or `nothing`) and a number of steps; the answer is the median seconds of a step's forward,
backward and update, and of the step.
"""

import time

import torch
import transformers
from turns import take

CONFIG = dict(
    hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536, num_labels=2
)


class Contestant:
    def __init__(self, shape, frozen):
        rows, width = map(int, shape.split("x"))
        self.model = transformers.BertForSequenceClassification(transformers.BertConfig(**CONFIG)).train()
        if frozen != "nothing":
            front = [self.model.bert.embeddings, *self.model.bert.encoder.layer[: int(frozen)]]
            for part in front:
                part.requires_grad_(False).eval()
        self.batch = dict(
            input_ids=torch.randint(30522, (rows, width)),
            attention_mask=torch.ones(rows, width, dtype=torch.long),
            labels=torch.randint(2, (rows,)),
        )
        self.batch["attention_mask"][:, -3:] = 0
        trained = [param for param in self.model.parameters() if param.requires_grad]
        self.optimizer = torch.optim.AdamW(trained, lr=1e-5, fused=True)

    def step(self):
        start = time.perf_counter()
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.model(**self.batch).loss
        forward = time.perf_counter()
        loss.backward()
        backward = time.perf_counter()
        self.optimizer.step()
        end = time.perf_counter()
        return forward - start, backward - forward, end - backward, end - start


take(f"PyTorch {torch.__version__}, transformers {transformers.__version__}", Contestant)

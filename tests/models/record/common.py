"""Writes what PyTorch computes with a small model, for the tests of the models. Needs torch and transformers.

A case is one safetensors file: `weight/NAME` under the public names, `input/NAME`, `output/NAME`, `loss`, and the
gradient of the loss for each parameter, `grad/NAME`; the configuration is in the metadata, under `config`.
"""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

FOLDER = Path(__file__).resolve().parents[2] / "data" / "models"


def seeded(model, seed=0, scale=0.3):
    """Weights that are nowhere 0 or 1, so that nothing cancels; in evaluation mode."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator) * scale
            is_norm = parameter.dim() == 1 and name.endswith("weight")
            parameter.copy_(noise + 1.0 if is_norm else noise)
    return model.eval()


def record(case, config, model, inputs, outputs, loss, buffers=True):
    """Runs the backward of `loss` and writes the case."""
    model.zero_grad()
    loss.backward()
    tensors = {"loss": loss.detach()}
    state = model.state_dict() if buffers else dict(model.named_parameters())
    tensors |= {f"weight/{name}": tensor.detach() for name, tensor in state.items()}
    tensors |= {f"input/{name}": tensor for name, tensor in inputs.items()}
    tensors |= {f"output/{name}": tensor.detach() for name, tensor in outputs.items()}
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            tensors[f"grad/{name}"] = parameter.grad
    write(case, config, tensors)


def write(case, config, tensors):
    """Writes tensors that have the names of the file."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / f"{case}.safetensors"
    tensors = {name: tensor.detach().clone().contiguous() for name, tensor in tensors.items()}
    save_file(tensors, path, metadata={"config": json.dumps(config)})
    print(path.name, path.stat().st_size, "bytes, loss", float(tensors["loss"]))

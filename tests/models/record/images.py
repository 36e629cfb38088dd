"""What the recorders of image models share."""

import os
import tempfile

import torch
from safetensors.torch import load_file

from common import write


def drawn(shape, seed):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def scatter(model, seed):
    """Weights with which every term of the forward shows in the result."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.dim() > 1 and name.endswith("weight"):
                parameter.copy_(noise / parameter[0].numel() ** 0.5)
            else:
                scale = parameter.dim() == 1 and not name.endswith("bias")
                parameter.copy_(0.25 * noise + (1.0 if scale else 0.0))
        for name, buffer in model.named_buffers():
            if name.endswith("running_mean"):
                buffer.copy_(0.3 * torch.randn(buffer.shape, generator=generator))
            if name.endswith("running_var"):
                buffer.copy_(0.5 + torch.rand(buffer.shape, generator=generator))


def saved(model):
    """The tensors of the file that the model is saved to."""
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        return load_file(os.path.join(folder, "model.safetensors"))


def gradients(model):
    """The gradients, under the names of the file; a parameter without one is left out."""
    kept = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    nothing = torch.tensor(float("nan"))
    with torch.no_grad():
        for tensor in model.state_dict().values():
            if tensor.is_floating_point():
                tensor.fill_(nothing)
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter.copy_(parameter.grad)
    found = saved(model)
    model.load_state_dict(kept)
    return {
        name: tensor
        for name, tensor in found.items()
        if tensor.is_floating_point() and not tensor.isnan().any()
    }


def case(name, model, images, labels=None, train=False, rename=lambda name: name):
    """Forward, loss and gradients of a classifier, or of an encoder with the mean of squares for a loss; after a
    forward in training, also the running statistics."""
    model.train(train)
    tensors = {"input/images": images}
    tensors |= {f"weight/{rename(of)}": tensor for of, tensor in saved(model).items()}
    if labels is None:
        hidden = model(images).last_hidden_state
        tensors |= {"output/hidden": hidden, "loss": hidden.square().mean()}
    else:
        result = model(images, labels=labels)
        tensors |= {"input/labels": labels, "output/logits": result.logits, "loss": result.loss}
    tensors["loss"].backward()
    if train:
        statistics = {of: tensor for of, tensor in saved(model).items() if "running_" in of}
        tensors |= {f"output/{rename(of)}": tensor for of, tensor in statistics.items()}
    tensors |= {f"grad/{rename(of)}": tensor for of, tensor in gradients(model).items()}
    write(name, model.config.to_dict(), tensors)

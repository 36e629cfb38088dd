"""ViT by transformers. Needs torch and transformers."""

import torch
from images import case, drawn, scatter
from transformers import ViTConfig, ViTForImageClassification, ViTModel

SIZES = dict(
    hidden_size=16, num_hidden_layers=2, num_attention_heads=4, intermediate_size=24, image_size=12, patch_size=4
)

classifier = ViTForImageClassification(ViTConfig(**SIZES, num_labels=3))
scatter(classifier, 1)
case("vit_classifier", classifier, drawn((3, 3, 12, 12), 2), torch.tensor([0, 2, 1]))

encoder = ViTModel(
    ViTConfig(**SIZES, num_channels=1, qkv_bias=False, hidden_act="gelu_new", layer_norm_eps=1e-3),
    add_pooling_layer=False,
)
scatter(encoder, 3)
case("vit_encoder", encoder, drawn((2, 1, 12, 12), 4))

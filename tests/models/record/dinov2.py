"""DINOv2 by transformers. Needs torch and transformers."""

import torch
from images import case, drawn, scatter
from transformers import Dinov2Config, Dinov2ForImageClassification, Dinov2Model

SIZES = dict(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, mlp_ratio=2, image_size=12, patch_size=4)

classifier = Dinov2ForImageClassification(Dinov2Config(**SIZES, num_labels=3))
scatter(classifier, 1)
case("dinov2_classifier", classifier, drawn((3, 3, 12, 12), 2), torch.tensor([0, 2, 1]))

# The giant's feed-forward layers, and images of another size.
gated = Dinov2ForImageClassification(Dinov2Config(**SIZES, num_labels=3, use_swiglu_ffn=True, use_mask_token=False))
scatter(gated, 3)
case("dinov2_gated", gated, drawn((2, 3, 20, 8), 4), torch.tensor([1, 2]))

encoder = Dinov2Model(Dinov2Config(**SIZES, num_channels=1, qkv_bias=False, layer_norm_eps=1e-3))
scatter(encoder, 5)
case("dinov2_encoder", encoder, drawn((2, 1, 12, 12), 6))

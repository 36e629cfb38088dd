//! The names under which `transformers` saves a ResNet, as torchvision's.

/// torchvision's name of a tensor of `ResNetForImageClassification` or `ResNetModel`; other names stay. For
/// [`Load::rename_with`](crate::load::Load::rename_with):
///
/// ```
/// use freeze_core::models::resnet::torchvision_name;
///
/// for (saved, name) in [
///     ("resnet.embedder.embedder.normalization.weight", "bn1.weight"),
///     ("resnet.encoder.stages.2.layers.5.layer.1.convolution.weight", "layer3.5.conv2.weight"),
///     ("resnet.encoder.stages.1.layers.0.shortcut.normalization.bias", "layer2.0.downsample.1.bias"),
///     ("classifier.1.bias", "fc.bias"),
///     ("fc.bias", "fc.bias"),
/// ] {
///     assert_eq!(torchvision_name(saved), name);
/// }
/// ```
pub fn torchvision_name(name: &str) -> String {
    let bare = name.strip_prefix("resnet.").unwrap_or(name);
    let segments: Vec<&str> = bare.split('.').collect();
    renamed(&segments).unwrap_or_else(|| name.to_string())
}

fn renamed(segments: &[&str]) -> Option<String> {
    let next = |text: &str| text.parse::<usize>().ok().map(|number| number + 1);
    Some(match *segments {
        ["classifier", "1", of] => format!("fc.{of}"),
        ["embedder", "embedder", "convolution", of] => format!("conv1.{of}"),
        ["embedder", "embedder", "normalization", of] => format!("bn1.{of}"),
        ["encoder", "stages", stage, "layers", block, ref inner @ ..] => {
            let inner = match *inner {
                ["shortcut", "convolution", of] => format!("downsample.0.{of}"),
                ["shortcut", "normalization", of] => format!("downsample.1.{of}"),
                ["layer", place, "convolution", of] => format!("conv{}.{of}", next(place)?),
                ["layer", place, "normalization", of] => format!("bn{}.{of}", next(place)?),
                _ => return None,
            };
            format!("layer{}.{block}.{inner}", next(stage)?)
        }
        _ => return None,
    })
}

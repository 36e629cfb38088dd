//! What a ResNet is made of, from the two kinds of `config.json` that there are.

use serde::{Deserialize, Serialize};

use crate::error::{Error, at_least_1};
use crate::models::config::PretrainedConfig;

/// What a [`ResNet`](super::ResNet) is made of. Deserialised from the `config.json` of `transformers` (sizes) or of
/// timm (`"architecture": "resnet50"`).
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(try_from = "Json")]
pub struct Config {
    /// Colours.
    pub num_channels: usize,
    /// Channels of the first convolution.
    pub embedding_size: usize,
    /// Channels of the results of `layer1` to `layer4`.
    pub hidden_sizes: [usize; 4],
    /// Blocks of `layer1` to `layer4`.
    pub depths: [usize; 4],
    /// The kind of the blocks.
    pub layer_type: LayerType,
    /// Whether `layer1` halves the image, as the others do.
    pub downsample_in_first_stage: bool,
    /// Whether the first convolution of a bottleneck halves the image, as in the paper, or the second, as in
    /// torchvision.
    pub downsample_in_bottleneck: bool,
    /// Classes.
    pub num_labels: usize,
}

/// The kind of a residual block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LayerType {
    /// Two convolutions of 3 by 3.
    Basic,
    /// Of 1 by 1, 3 by 3 and 1 by 1, the first two with a quarter of the channels.
    Bottleneck,
}

impl Config {
    /// ResNet-18: 11.7 million parameters with 1000 classes.
    pub fn resnet18(num_labels: usize) -> Self {
        Self::of(LayerType::Basic, [2, 2, 2, 2], num_labels)
    }

    /// ResNet-34: 21.8 million parameters.
    pub fn resnet34(num_labels: usize) -> Self {
        Self::of(LayerType::Basic, [3, 4, 6, 3], num_labels)
    }

    /// ResNet-50: 25.6 million parameters.
    pub fn resnet50(num_labels: usize) -> Self {
        Self::of(LayerType::Bottleneck, [3, 4, 6, 3], num_labels)
    }

    /// ResNet-101: 44.5 million parameters.
    pub fn resnet101(num_labels: usize) -> Self {
        Self::of(LayerType::Bottleneck, [3, 4, 23, 3], num_labels)
    }

    /// ResNet-152: 60.2 million parameters.
    pub fn resnet152(num_labels: usize) -> Self {
        Self::of(LayerType::Bottleneck, [3, 8, 36, 3], num_labels)
    }

    fn of(layer_type: LayerType, depths: [usize; 4], num_labels: usize) -> Self {
        let widen = match layer_type {
            LayerType::Basic => 1,
            LayerType::Bottleneck => 4,
        };
        Self {
            num_channels: 3,
            embedding_size: 64,
            hidden_sizes: [64, 128, 256, 512].map(|size| size * widen),
            depths,
            layer_type,
            downsample_in_first_stage: false,
            downsample_in_bottleneck: false,
            num_labels,
        }
    }

    fn named(architecture: &str, num_labels: usize) -> Option<Self> {
        Some(match architecture {
            "resnet18" => Self::resnet18(num_labels),
            "resnet34" => Self::resnet34(num_labels),
            "resnet50" => Self::resnet50(num_labels),
            "resnet101" => Self::resnet101(num_labels),
            "resnet152" => Self::resnet152(num_labels),
            _ => return None,
        })
    }
}

impl PretrainedConfig for Config {
    const MODEL_TYPES: &'static [&'static str] = &["resnet"];

    fn check(&self) -> crate::error::Result<()> {
        at_least_1("num_channels", self.num_channels)?;
        at_least_1("embedding_size", self.embedding_size)?;
        at_least_1("num_labels", self.num_labels)?;
        for (depth, size) in self.depths.into_iter().zip(self.hidden_sizes) {
            at_least_1("depths", depth)?;
            at_least_1("hidden_sizes", size)?;
            if self.layer_type == LayerType::Bottleneck && !size.is_multiple_of(4) {
                return Err(Error::count("hidden_sizes", size, "multiples of 4 for bottlenecks"));
            }
        }
        Ok(())
    }
}

/// The two forms of the file.
#[derive(Deserialize)]
#[serde(default)]
struct Json {
    architecture: Option<String>,
    num_classes: Option<usize>,
    num_labels: Option<usize>,
    id2label: Option<serde_json::Map<String, serde_json::Value>>,
    num_channels: usize,
    embedding_size: usize,
    hidden_sizes: Vec<usize>,
    depths: Vec<usize>,
    layer_type: LayerType,
    hidden_act: String,
    downsample_in_first_stage: bool,
    downsample_in_bottleneck: bool,
}

impl Default for Json {
    /// The file of `microsoft/resnet-50` leaves out what is so.
    fn default() -> Self {
        let config = Config::resnet50(2);
        Self {
            architecture: None,
            num_classes: None,
            num_labels: None,
            id2label: None,
            num_channels: config.num_channels,
            embedding_size: config.embedding_size,
            hidden_sizes: config.hidden_sizes.to_vec(),
            depths: config.depths.to_vec(),
            layer_type: config.layer_type,
            hidden_act: "relu".into(),
            downsample_in_first_stage: false,
            downsample_in_bottleneck: false,
        }
    }
}

impl TryFrom<Json> for Config {
    type Error = String;

    fn try_from(json: Json) -> Result<Self, String> {
        let labels = json.id2label.map(|names| names.len());
        let num_labels = json.num_classes.or(json.num_labels).or(labels).unwrap_or(2);
        if let Some(architecture) = json.architecture {
            return Self::named(&architecture, num_labels).ok_or_else(|| {
                format!("`architecture` is `{architecture}`, expected `resnet18`, `resnet34`, `resnet50`, `resnet101` or `resnet152`")
            });
        }
        if json.hidden_act != "relu" {
            return Err(format!("`hidden_act` is `{}`, expected `relu`", json.hidden_act));
        }
        let four = |name: &str, sizes: Vec<usize>| {
            <[usize; 4]>::try_from(sizes)
                .map_err(|sizes| format!("`{name}` is {sizes:?}, expected four numbers"))
        };
        Ok(Self {
            num_channels: json.num_channels,
            embedding_size: json.embedding_size,
            hidden_sizes: four("hidden_sizes", json.hidden_sizes)?,
            depths: four("depths", json.depths)?,
            layer_type: json.layer_type,
            downsample_in_first_stage: json.downsample_in_first_stage,
            downsample_in_bottleneck: json.downsample_in_bottleneck,
            num_labels,
        })
    }
}

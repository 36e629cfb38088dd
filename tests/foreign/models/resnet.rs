use candle_core::{DType, Device::Cpu, Module, Tensor, Var};
use candle_nn::{VarBuilder, VarMap};
use candle_transformers::models::resnet as theirs;
use freeze_core::models::ImageContext;
use freeze_core::models::resnet::{Config, ResNet};
use freeze_core::{Freezable, Staged};

use super::assert_equal;

#[test]
fn resnets_are_theirs() {
    let map = VarMap::new();
    let vb = VarBuilder::from_varmap(&map, DType::F32, &Cpu);
    let (basic, deep) = (vb.pp("basic"), vb.pp("deep"));
    let ours = [(Config::resnet18(7), basic.clone()), (Config::resnet50(7), deep.clone())];
    let ours = ours.map(|(config, vb)| ResNet::new(&config, vb).expect("ours"));
    for model in &ours {
        // Their model reads the same tensors.
        for (name, tensor) in model.named_tensors().expect("tensors") {
            let low = match name.rsplit_once("running_") {
                Some((_, "mean")) => -0.5f32,
                Some(_) => 0.5,
                None => continue,
            };
            let drawn = Tensor::rand(low, low + 1., tensor.shape(), &Cpu).expect("statistics");
            Var::from_tensor(&tensor).and_then(|var| var.set(&drawn)).expect("set");
        }
    }
    let theirs = [theirs::resnet18(7, basic), theirs::resnet50(7, deep)];
    let images = Tensor::randn(0f32, 1., (2, 3, 50, 64), &Cpu).expect("images");
    for (ours, theirs) in ours.iter().zip(theirs) {
        let expected = theirs.expect("their model").forward(&images).expect("their scores");
        let found = ours.forward(images.clone(), &ImageContext::default()).expect("our scores");
        assert_equal(&found, &expected);
    }
}

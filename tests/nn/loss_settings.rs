//! `nn::CrossEntropy`: label smoothing and class weights by PyTorch's formulas, and what is refused.

use candle_core::{DType, Device, Tensor};
use freeze_core::nn::CrossEntropy;

use crate::support::{check, check_half, flat, random, refusal};

const WEIGHTS: [f64; 4] = [0.5, 2., 0., 1.25];
const LABELS: [i64; 6] = [3, 1, -100, 0, 2, 1];

fn labels() -> Tensor {
    Tensor::new(&LABELS, &Device::Cpu).unwrap()
}

fn settings(smoothing: f64, weighted: bool) -> CrossEntropy {
    let loss = CrossEntropy::new().ignoring(-100).label_smoothing(smoothing).unwrap();
    if weighted { loss.class_weights(&WEIGHTS).unwrap() } else { loss }
}

/// As PyTorch's documentation writes it: the weighted losses of the labels and of all classes, each divided
/// by the weights of the labels that count.
fn formula(logits: &[f64], smoothing: f64, weighted: bool) -> f64 {
    let weight = |class: usize| if weighted { WEIGHTS[class] } else { 1. };
    let (mut labelled, mut smooth, mut total) = (0., 0., 0.);
    for (x, label) in logits.chunks(4).zip(LABELS) {
        let Ok(label) = usize::try_from(label) else { continue };
        let log_sum = x.iter().map(|x| x.exp()).sum::<f64>().ln();
        labelled += weight(label) * (log_sum - x[label]);
        smooth += (0..4).map(|class| weight(class) * (log_sum - x[class])).sum::<f64>();
        total += weight(label);
    }
    (1. - smoothing) * labelled / total + smoothing / 4. * smooth / total
}

const TABLE: [(f64, bool); 6] =
    [(0., false), (0.1, false), (1., false), (0., true), (0.25, true), (1., true)];

#[test]
fn values_are_those_of_the_formula() {
    let logits = (random(1, (6, 4), DType::F64) * 5.).unwrap();
    for (smoothing, weighted) in TABLE {
        let loss = settings(smoothing, weighted).loss(&logits, &labels()).unwrap();
        let expected = formula(&flat(&logits), smoothing, weighted);
        let off = (flat(&loss)[0] - expected).abs();
        assert!(off < 1e-14, "smoothing {smoothing}, weighted {weighted}: off by {off:e}");
        // Large logits do not cancel.
        let moved = settings(smoothing, weighted).loss(&(&logits + 1e6).unwrap(), &labels());
        assert!((flat(&moved.unwrap())[0] - expected).abs() < 1e-8);
    }
}

#[test]
fn gradients_by_finite_differences_and_in_halves() {
    for (smoothing, weighted) in TABLE {
        let loss = settings(smoothing, weighted);
        let logits = random(1, (6, 4), DType::F64);
        check(std::slice::from_ref(&logits), |t| loss.loss(&t[0], &labels()));
        let many = logits.reshape((2, 3, 4)).unwrap();
        check(&[many], |t| loss.loss(&t[0], &labels().reshape((2, 3))?));
        let wide = |t: &[Tensor]| loss.loss(&t[0], &labels())?.to_dtype(t[0].dtype());
        let logits = logits.to_dtype(DType::F32).unwrap();
        check_half(DType::F16, 2e-3, std::slice::from_ref(&logits), wide);
        check_half(DType::BF16, 2e-2, &[logits], wide);
    }
}

#[test]
fn bad_settings_are_named() {
    let new = CrossEntropy::new;
    for share in [-0.1, 1.1, f64::NAN] {
        let text = new().label_smoothing(share).unwrap_err().to_string();
        assert!(text.contains("label_smoothing") && text.contains("from 0 to 1"), "{text}");
    }
    for weight in [-1., f64::INFINITY, f64::NAN] {
        let text = new().class_weights(&[1., weight]).unwrap_err().to_string();
        assert!(text.contains("class_weights") && text.contains("at least 0"), "{text}");
    }
    assert!(new().class_weights(&[]).unwrap_err().to_string().contains("found none"));
    let logits = random(1, (6, 4), DType::F32);
    let three = new().class_weights(&[1., 1., 1.]).unwrap();
    let text = refusal(three.loss(&logits, &labels()));
    assert!(text.contains("3 class weights for 4 classes"), "{text}");
    let text = refusal(
        settings(0., true)
            .loss(&logits.narrow(0, 0, 1).unwrap(), &Tensor::new(&[2i64], &Device::Cpu).unwrap()),
    );
    assert!(text.contains("the classes of all labels weigh 0"), "{text}");
    let text = refusal(new().loss(&logits, &labels()));
    assert!(text.contains("label 2 is -100"), "{text}");
}

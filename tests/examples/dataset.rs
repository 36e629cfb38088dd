//! The embedded subset, and its batches.

use candle_core::{DType, Tensor};

use crate::common::dataset::{Dataset, Images};

fn classes(batches: impl Iterator<Item = candle_core::Result<(Tensor, Tensor)>>) -> Vec<u32> {
    batches.flat_map(|batch| batch.unwrap().1.to_vec1::<u32>().unwrap()).collect()
}

fn counts(images: &Images) -> Vec<usize> {
    let all = classes(images.ordered(97));
    (0..10).map(|class| all.iter().filter(|found| **found == class).count()).collect()
}

/// The sum over each image: a fingerprint that no two images of the subset are likely to share.
fn fingerprints(batches: impl Iterator<Item = candle_core::Result<(Tensor, Tensor)>>) -> Vec<u32> {
    let sums = |images: Tensor| images.flatten_from(1).unwrap().sum(1).unwrap();
    let bits = |sums: Tensor| sums.to_vec1::<f32>().unwrap().into_iter().map(f32::to_bits);
    batches.flat_map(|batch| bits(sums(batch.unwrap().0))).collect()
}

#[test]
fn the_embedded_subset_is_balanced_and_normalised() {
    let data = Dataset::load(None).unwrap();
    assert_eq!(counts(&data.train), [260; 10]);
    assert_eq!(counts(&data.test), [70; 10]);

    let (images, labels) = data.train.ordered(2600).next().unwrap().unwrap();
    assert_eq!((images.dims(), images.dtype()), (&[2600, 1, 28, 28][..], DType::F32));
    assert_eq!((labels.dims(), labels.dtype()), (&[2600][..], DType::U32));
    let mean = images.mean_all().unwrap().to_scalar::<f32>().unwrap();
    let square = images.sqr().unwrap().mean_all().unwrap().to_scalar::<f32>().unwrap();
    assert!(mean.abs() < 0.05 && (square - 1.0).abs() < 0.05, "mean {mean}, square {square}");
}

#[test]
fn batches_hold_every_image_once_and_in_order() {
    let data = Dataset::load(None).unwrap();
    let whole = fingerprints(data.test.ordered(700));
    for size in [1, 32, 700, 701] {
        let batches: Vec<_> = data.test.ordered(size).map(|batch| batch.unwrap()).collect();
        assert_eq!(batches.len(), data.test.batches(size));
        assert!(batches.iter().all(|(_, labels)| (1..=size).contains(&labels.elem_count())));
        assert_eq!(fingerprints(batches.into_iter().map(Ok)), whole);
    }
    let picked = fingerprints([data.test.pick(&[9, 3])].into_iter());
    assert_eq!(picked, [whole[9], whole[3]]);
    assert!(data.test.pick(&[700]).is_err());
}

#[test]
fn parts_of_the_set() {
    let data = Dataset::load(None).unwrap();
    for (limit, train, test) in [(1, 1, 1), (700, 700, 700), (1000, 1000, 700), (9999, 2600, 700)] {
        let limited = data.limited(limit).unwrap();
        assert_eq!((limited.train.len(), limited.test.len()), (train, test), "limit {limit}");
    }
    let some = data.of_classes(&[7, 2]).unwrap();
    assert_eq!(counts(&some.train), [260, 260, 0, 0, 0, 0, 0, 0, 0, 0]);
    let all = data.test.ordered(700).next().unwrap().unwrap();
    let of_seven =
        all.1.to_vec1::<u32>().unwrap().into_iter().zip(fingerprints([Ok(all)].into_iter()));
    let of_seven: Vec<u32> = of_seven.filter(|(class, _)| *class == 7).map(|(_, f)| f).collect();
    let found = classes(some.test.ordered(1)).into_iter().zip(fingerprints(some.test.ordered(1)));
    let found: Vec<u32> = found.filter(|(class, _)| *class == 0).map(|(_, f)| f).collect();
    assert_eq!(found, of_seven);

    assert!(data.of_classes(&[10]).is_err());
    assert!(data.of_classes(&[]).is_err());
}

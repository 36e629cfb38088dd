//! Whole runs on the card: the losses of the CPU, the same bits again, resumed here and there.

use candle_core::Device;
use freeze_core::optim::AdamW;

use crate::card;
use crate::models::{EPOCHS, go_on, training, weights};

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

#[test]
fn a_run_has_the_losses_of_the_cpu() -> Result {
    let Some(card) = card() else { return Ok(()) };
    let (mut here, mut there) = (training(1, &card)?, training(1, &Device::Cpu)?);
    let (found, expected) =
        (go_on(&mut here, EPOCHS, &card)?, go_on(&mut there, EPOCHS, &Device::Cpu)?);
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(&expected) {
        assert!((found - expected).abs() < 1e-4, "{found} {expected}");
    }
    assert_eq!(here.freezer().plan(), there.freezer().plan());
    assert!(here.freezer().plan().frozen_leaves() > 0);
    let bytes =
        |run: &freeze_core::Training<_>| run.optimizer_as::<AdamW>(0).map(AdamW::state_bytes);
    assert_eq!(bytes(&here), bytes(&there), "what froze holds no state");
    Ok(())
}

#[test]
fn the_same_run_again_has_the_same_bits() -> Result {
    let Some(card) = card() else { return Ok(()) };
    let (mut one, mut other) = (training(1, &card)?, training(1, &card)?);
    assert_eq!(go_on(&mut one, EPOCHS, &card)?, go_on(&mut other, EPOCHS, &card)?);
    assert_eq!(weights(&one), weights(&other));
    Ok(())
}

#[test]
fn a_run_saved_on_the_card_goes_on_there_and_on_the_cpu() -> Result {
    let Some(card) = card() else { return Ok(()) };
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("run.safetensors");
    let mut whole = training(1, &card)?;
    go_on(&mut whole, 2, &card)?;
    whole.save(&path)?;
    let saved = weights(&whole);

    let mut here = training(2, &card)?;
    here.resume_from(&path)?;
    assert_eq!(weights(&here), saved);
    let mut there = training(3, &Device::Cpu)?;
    there.resume_from(&path)?;
    assert_eq!(weights(&there), saved);

    let expected = go_on(&mut whole, EPOCHS, &card)?;
    assert_eq!(go_on(&mut here, EPOCHS, &card)?, expected);
    assert_eq!(weights(&here), weights(&whole));
    for (found, expected) in go_on(&mut there, EPOCHS, &Device::Cpu)?.iter().zip(&expected) {
        assert!((found - expected).abs() < 1e-4, "{found} {expected}");
    }

    // And what the CPU saved is taken up by the card.
    there.save(&path)?;
    here.resume_from(&path)?;
    assert_eq!(weights(&here), weights(&there));
    Ok(())
}

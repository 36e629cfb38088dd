//! Plans on the card: what freezes rests, its state goes where the policy says, and the audit sees it.

use candle_core::Device;
use candle_nn::{Optimizer, ParamsAdamW};
use freeze_core::audit::audit;
use freeze_core::checkpoint::Checkpoint;
use freeze_core::optim::{AdamW, StatePolicy};
use freeze_core::{Freezer, Result};

use crate::card;
use crate::models::{Net, loss};
use crate::support::flat;

fn train(net: &Freezer<Net>, opt: &mut AdamW, batch: usize, device: &Device) -> Result<()> {
    opt.backward_step(&loss(net, batch, device)?)?;
    Ok(())
}

#[test]
fn state_is_dropped_kept_or_moved_to_the_host_and_back() -> Result<()> {
    let Some(card) = card() else { return Ok(()) };
    for policy in [StatePolicy::Drop, StatePolicy::Keep, StatePolicy::Offload] {
        let mut net = Freezer::new(Net::new(1, &card)?)?;
        let mut opt = AdamW::with_names(net.planned_vars(), ParamsAdamW::default())?;
        opt.set_state_policy(policy);
        train(&net, &mut opt, 1, &card)?;
        let full = opt.state_bytes();
        let moments = flat(&opt.state_tensors()?["first_moment/stem.weight"]);

        net.freeze_front(2, &mut [&mut opt])?;
        let held = opt.state_tensors()?.get("first_moment/stem.weight").cloned();
        match policy {
            StatePolicy::Drop => assert!(held.is_none() && opt.state_bytes() < full),
            StatePolicy::Keep => assert!(held.is_some_and(|held| held.device().is_cuda())),
            _ => assert!(held.is_some_and(|held| held.device().is_cpu())),
        }
        let front = net.whole().stem.weight().clone();
        let frozen = flat(&front);
        train(&net, &mut opt, 2, &card)?;
        assert_eq!(flat(&front), frozen, "{policy:?}: what is frozen rests");

        net.thaw(&mut [&mut opt])?;
        if policy != StatePolicy::Drop {
            let back = opt.state_tensors()?["first_moment/stem.weight"].clone();
            assert_eq!(flat(&back), moments, "{policy:?}");
        }
        train(&net, &mut opt, 3, &card)?;
        let back = opt.state_tensors()?["first_moment/stem.weight"].clone();
        assert!(back.device().is_cuda(), "{policy:?}");
        assert_ne!(flat(&front), frozen, "{policy:?}");
        assert_eq!(opt.state_bytes(), full);
    }
    Ok(())
}

/// In a fresh process, too: what was offloaded need not fit on the card.
#[test]
fn offloaded_state_is_resumed_on_the_host() -> Result<()> {
    let Some(card) = card() else { return Ok(()) };
    for policy in [StatePolicy::Keep, StatePolicy::Offload] {
        let made = || -> Result<_> {
            let net = Freezer::new(Net::new(1, &card)?)?;
            let mut opt = AdamW::with_names(net.planned_vars(), ParamsAdamW::default())?;
            opt.set_state_policy(policy);
            Ok((net, opt))
        };
        let (mut net, mut opt) = made()?;
        train(&net, &mut opt, 1, &card)?;
        net.freeze_front(2, &mut [&mut opt])?;
        let saved = opt.state_tensors()?;
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("saved");
        Checkpoint::of(&mut net).optimizer(&mut opt).save(&path)?;

        let (mut net, mut again) = made()?;
        Checkpoint::of(&mut net).optimizer(&mut again).resume(&path)?;
        for (name, tensor) in again.state_tensors()? {
            assert_eq!(flat(&tensor), flat(&saved[&name]), "{policy:?} {name}");
            let on_card = saved[&name].device().is_cuda();
            assert_eq!(tensor.device().is_cuda(), on_card, "{policy:?} {name}");
        }
    }
    Ok(())
}

#[test]
fn the_audit_finds_what_is_frozen_and_no_fault() -> Result<()> {
    let Some(card) = card() else { return Ok(()) };
    for depth in [0, 2, 4] {
        let mut net = Freezer::new(Net::new(1, &card)?)?;
        net.freeze_front(depth, &mut [])?;
        let report = audit(&net, |net| loss(net, 1, &card))?;
        report.ensure_clean()?;
        let host = {
            let mut net = Freezer::new(Net::new(1, &Device::Cpu)?)?;
            net.freeze_front(depth, &mut [])?;
            audit(&net, |net| loss(net, 1, &Device::Cpu))?
        };
        for (card, host) in report.leaves().iter().zip(host.leaves()) {
            assert_eq!((&card.path, &card.outcome), (&host.path, &host.outcome), "{depth}");
        }
    }
    Ok(())
}

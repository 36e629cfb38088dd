//! Learning-rate schedules at the places that matter.

use freeze_core::Result;
use freeze_core::optim::lr;

fn check(schedule: impl Fn(f64) -> f64, points: &[(f64, f64)]) {
    for &(progress, expected) in points {
        let share = schedule(progress);
        assert!((share - expected).abs() < 1e-12, "{share} at {progress}, expected {expected}");
    }
    assert!(schedule(f64::NAN).is_nan());
}

#[test]
fn shapes() -> Result<()> {
    check(lr::constant(), &[(0.0, 1.0), (0.5, 1.0), (1.0, 1.0)]);
    check(lr::linear(0.2)?, &[(-1.0, 1.0), (0.0, 1.0), (0.5, 0.6), (1.0, 0.2), (2.0, 0.2)]);
    let sixty_degrees = 1.0 / 3.0;
    check(lr::cosine(0.0)?, &[(0.0, 1.0), (sixty_degrees, 0.75), (0.5, 0.5), (1.0, 0.0)]);
    check(lr::cosine(0.5)?, &[(0.0, 1.0), (0.5, 0.75), (1.0, 0.5), (9.0, 0.5)]);
    let points = [(0.0, 0.1), (0.15, 0.55), (0.3, 1.0), (0.65, 0.5), (1.0, 0.0)];
    check(lr::one_cycle(0.3, 0.1, 0.0)?, &points);
    check(lr::one_cycle(0.0, 0.1, 0.0)?, &[(0.0, 1.0), (1.0, 0.0)]);
    check(lr::one_cycle(1.0, 0.1, 0.0)?, &[(0.0, 0.1), (1.0, 1.0)]);
    let points = [(0.0, 1.0), (0.49, 1.0), (0.5, 0.1), (0.75, 0.01), (1.0, 0.01)];
    check(lr::step(&[0.75, 0.5], 0.1)?, &points);
    check(lr::step(&[], 0.1)?, &[(0.0, 1.0), (1.0, 1.0)]);
    Ok(())
}

#[test]
fn a_warm_up_leads_into_what_follows() -> Result<()> {
    let points = [(0.0, 0.01), (0.1, 0.505), (0.2, 1.0), (0.6, 0.5), (1.0, 0.0)];
    check(lr::warmup(0.2, lr::cosine(0.0)?)?, &points);
    let points = [(0.0, 0.25), (0.1, 0.625), (0.2, 1.0), (0.6, 0.5), (1.0, 0.0)];
    check(lr::warmup_from(0.25, 0.2, lr::cosine(0.0)?)?, &points);
    check(lr::warmup_from(1.0, 0.2, lr::constant())?, &[(0.0, 1.0), (0.1, 1.0), (0.2, 1.0)]);
    check(lr::warmup(0.0, lr::constant())?, &[(0.0, 1.0), (1.0, 1.0)]);
    check(lr::warmup(1.0, lr::constant())?, &[(0.0, 0.01), (0.5, 0.505), (1.0, 1.0)]);
    Ok(())
}

#[test]
fn numbers_out_of_range_are_refused() {
    for wrong in [-0.1, 1.1, f64::NAN] {
        assert!(lr::warmup(wrong, lr::constant()).is_err());
        assert!(lr::warmup_from(wrong, 0.1, lr::constant()).is_err());
        assert!(lr::linear(wrong).is_err());
        assert!(lr::cosine(wrong).is_err());
        assert!(lr::one_cycle(wrong, 0.0, 0.0).is_err());
        assert!(lr::one_cycle(0.3, wrong, 0.0).is_err());
        assert!(lr::one_cycle(0.3, 0.0, wrong).is_err());
        assert!(lr::step(&[wrong], 0.1).is_err());
        assert!(lr::step(&[0.5], wrong).is_err());
    }
    // The first step would change nothing.
    assert!(lr::warmup_from(0.0, 0.1, lr::constant()).is_err());
    assert!(lr::one_cycle(0.3, 0.0, 0.0).is_err());
}

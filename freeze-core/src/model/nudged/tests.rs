//! Tests of how values are moved.

use candle_core::{DType, Device, Result, Tensor};

use super::{nudged, spread};

/// The first numbers of splitmix64 from the seed 0, from its authors' code.
#[test]
fn the_moves_are_splitmix64s() {
    let first = [0xe220_a839_7b1d_cdaf_u64, 0x6e78_9e6a_a1b9_65f4, 0x06c4_5d18_8009_454f];
    for (index, bits) in (0..).zip(first) {
        assert_eq!(spread(index), (bits >> 11) as f64 / (1u64 << 52) as f64 - 1.0, "{index}");
    }
}

#[test]
fn every_element_moves_within_reach_also_where_all_are_zero() -> Result<()> {
    for (value, reach) in [(0.0, 0.1), (-3.0, 0.4)] {
        let tensor = Tensor::full(value, (4, 5), &Device::Cpu)?;
        let by = (nudged(&tensor, 0.1)? - tensor)?.to_dtype(DType::F64)?.flatten_all()?;
        let by = by.to_vec1::<f64>()?;
        assert!(by.iter().all(|by| *by != 0.0 && by.abs() <= reach), "{value}: {by:?}");
        let largest = by.iter().fold(0.0, |largest: f64, by| largest.max(by.abs()));
        assert!(largest > reach / 2.0, "{value}: {largest}");
    }
    Ok(())
}

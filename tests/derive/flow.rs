//! What flows between stages: as rows of bytes and back, chosen and put together, and what is refused.

use candle_core::{DType, Device, Tensor, Var};
use freeze_core::{Flat, Flow, FlowLayout, Result};
use proptest::prelude::*;

/// Every kind of part.
#[derive(Clone, Debug, Flow)]
struct All<T> {
    first: T,
    pair: (Tensor, [Tensor; 2]),
    maybe: Option<Tensor>,
    many: Vec<Option<Unnamed>>,
    r#type: Unnamed,
}

#[derive(Clone, Debug, Flow)]
struct Unnamed(Tensor, Option<Box3>);

#[derive(Clone, Debug, Flow)]
struct Box3 {
    inside: Tensor,
}

const TYPES: [DType; 9] = [
    DType::U8,
    DType::U32,
    DType::I16,
    DType::I32,
    DType::I64,
    DType::BF16,
    DType::F16,
    DType::F32,
    DType::F64,
];

/// A tensor of any bits, NaN among them.
fn tensor(batch: usize, shape: &[usize], dtype: DType, seed: u64) -> Tensor {
    let shape: Vec<usize> = [batch].into_iter().chain(shape.iter().copied()).collect();
    let bytes = shape.iter().product::<usize>() * dtype.size_in_bytes();
    let mut state = seed;
    let next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 56) as u8
    };
    let bytes: Vec<u8> = std::iter::repeat_with(next).take(bytes).collect();
    Tensor::from_raw_buffer(&bytes, dtype, &shape, &Device::Cpu).expect("a tensor")
}

/// A flow whose form depends on `form` alone, and whose numbers on `seed` too.
fn flow(batch: usize, form: u64, seed: u64) -> All<Tensor> {
    let make = |part: u64| {
        let dtype = TYPES[(form.wrapping_mul(31).wrapping_add(part) % 9) as usize];
        let shape = [(form + part) as usize % 4, 2, 3]; // also without elements
        let rank = (form + 2 * part) as usize % 3;
        let shape = if rank == 0 { &[][..] } else { &shape[3 - rank..] };
        tensor(batch, shape, dtype, seed.wrapping_mul(977).wrapping_add(part))
    };
    let unnamed = |part| {
        let inside = form.is_multiple_of(3).then(|| Box3 { inside: make(part + 1) });
        Unnamed(make(part), inside)
    };
    All {
        first: tensor(batch, &[(form % 3) as usize, 2], DType::F32, seed),
        pair: (make(1), [make(2), make(3)]),
        maybe: form.is_multiple_of(2).then(|| make(4)),
        many: (0..form % 4).map(|i| (i != 1).then(|| unnamed(10 + 2 * i))).collect(),
        r#type: unnamed(5),
    }
}

fn bytes(flow: &impl Flow) -> (FlowLayout, Vec<Vec<u8>>) {
    let rows = flow.to_rows().expect("rows");
    (rows.layout().clone(), rows.iter().map(<[u8]>::to_vec).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn rows_are_the_flow(batch in 0..5usize, form in 0..1000u64, seed: u64) {
        let before = flow(batch, form, seed);
        let rows = before.to_rows().expect("rows");
        prop_assert_eq!((rows.len(), rows.is_empty()), (batch, batch == 0));
        let width: usize = before.tensors().iter().map(|tensor| {
            tensor.dims()[1..].iter().product::<usize>() * tensor.dtype().size_in_bytes()
        }).sum();
        prop_assert_eq!(rows.layout().width(), width);
        let after = All::<Tensor>::from_rows(rows.layout(), rows.iter(), &Device::Cpu).expect("a flow");
        for (before, after) in before.tensors().iter().zip(after.tensors()) {
            prop_assert_eq!((before.dims(), before.dtype()), (after.dims(), after.dtype()));
        }
        prop_assert_eq!(format!("{:?}", before.maybe.is_some()), format!("{:?}", after.maybe.is_some()));
        prop_assert_eq!(before.many.len(), after.many.len());
        prop_assert_eq!(bytes(&before), bytes(&after));
        // The layout is saved beside the rows.
        let saved = serde_json::to_string(rows.layout()).expect("saved");
        prop_assert_eq!(&serde_json::from_str::<FlowLayout>(&saved).expect("read"), rows.layout());
    }

    /// Rows of several batches, in any order and number, are the selection and the concatenation.
    #[test]
    fn rows_can_be_mixed(form in 0..1000u64, order in prop::collection::vec(0..7usize, 1..9)) {
        let flows = [flow(4, form, 1), flow(3, form, 2)];
        let rows: Vec<_> = flows.iter().map(|flow| flow.to_rows().expect("rows")).collect();
        prop_assert_eq!(rows[0].layout(), rows[1].layout());
        let whole = Flow::concatenate(&flows).expect("all samples");
        prop_assert_eq!(whole.batch().expect("a batch"), 7);
        let (layout, all) = bytes(&whole);
        let picked = order.iter().map(|&i| if i < 4 { rows[0].row(i) } else { rows[1].row(i - 4) });
        let picked = All::<Tensor>::from_rows(&layout, picked, &Device::Cpu).expect("a flow");
        let index: Vec<u32> = order.iter().map(|&i| i as u32).collect();
        let index = Tensor::new(index, &Device::Cpu).expect("an index");
        // candle selects not every type.
        if let Ok(selected) = whole.select(&index) {
            prop_assert_eq!(bytes(&picked), bytes(&selected));
        }
        let expected: Vec<Vec<u8>> = order.iter().map(|&i| all[i].clone()).collect();
        prop_assert_eq!(bytes(&picked), (layout, expected));
    }
}

#[test]
fn a_slice_or_a_transposed_tensor_has_the_rows_of_its_values() {
    let whole =
        Tensor::arange(0f32, 24., &Device::Cpu).and_then(|x| x.reshape((4, 6))).expect("24");
    for (strided, expected) in [
        (whole.narrow(1, 2, 2), [[2f32, 3.], [8., 9.], [14., 15.], [20., 21.]].concat()),
        (whole.narrow(0, 1, 2), (6..18).map(|x| x as f32).collect()),
        (whole.t(), (0..24).map(|i| ((i % 4) * 6 + i / 4) as f32).collect()),
        (whole.narrow(0, 3, 1).and_then(|x| x.broadcast_as((2, 6))), {
            (0..12).map(|i| (18 + i % 6) as f32).collect()
        }),
    ] {
        let strided = strided.expect("a tensor");
        let rows = strided.to_rows().expect("rows");
        let values: Vec<f32> = rows
            .iter()
            .flat_map(<[u8]>::to_vec)
            .collect::<Vec<u8>>()
            .chunks(4)
            .map(|bytes| f32::from_ne_bytes(bytes.try_into().expect("four")))
            .collect();
        assert_eq!(values, expected);
        let index = Tensor::new(&[1u32], &Device::Cpu).expect("an index");
        let second = strided.select(&index).expect("selected");
        assert_eq!(second.to_rows().expect("rows").row(0), rows.row(1));
    }
}

#[test]
fn detached_shares_storage_and_no_graph() {
    let var = Var::new(&[[1f32, 2.]], &Device::Cpu).expect("a variable");
    let flow = (var.as_tensor().clone(), Some((var.as_tensor() * 2.).expect("a product")));
    let detached = flow.detached().expect("detached");
    assert!(flow.tensors().iter().all(Tensor::track_op));
    assert!(!detached.tensors().iter().any(Tensor::track_op));
    let halved = flow.map_tensors(|tensor| Ok(tensor.to_dtype(DType::F16)?)).expect("halved");
    assert!(halved.tensors().iter().all(|tensor| tensor.dtype() == DType::F16));
    var.set(&Tensor::new(&[[5f32, 6.]], &Device::Cpu).expect("a tensor")).expect("set");
    assert_eq!(detached.0.to_vec2::<f32>().expect("numbers"), [[5., 6.]]);
}

#[test]
fn what_has_no_batch_is_refused_by_its_part() {
    let ones = |shape: &[usize]| Tensor::ones(shape, DType::F32, &Device::Cpu).expect("ones");
    let text = |result: Result<usize>| result.expect_err("no batch").to_string();
    let error = text((ones(&[2, 3]), [ones(&[2]), ones(&[3, 2])]).batch());
    assert!(error.contains("at `1.1`: its first dimension is 3, that of `0` is 2"), "{error}");
    let error = text((ones(&[2, 3]), ones(&[])).batch());
    assert!(error.contains("at `1`: a tensor without dimensions"), "{error}");
    let error = text(None::<Tensor>.batch());
    assert!(error.contains("no tensor flows"), "{error}");
    assert!(ones(&[]).to_rows().is_err() && ones(&[]).row_layout().is_err());
}

#[test]
fn batches_of_another_form_are_not_mixed() {
    let ones = |shape: &[usize], dtype| Tensor::ones(shape, dtype, &Device::Cpu).expect("ones");
    let text = |flows: &[(Tensor, Option<Tensor>)]| {
        Flow::concatenate(flows).expect_err("they differ").to_string()
    };
    let first = (ones(&[2, 3], DType::F32), None);
    let longer = (ones(&[2, 4], DType::F32), None);
    let error = text(&[first.clone(), longer]);
    assert!(
        error.contains("at `0`: a sample has f32 of [3] in one batch and f32 of [4]"),
        "{error}"
    );
    let halved = (ones(&[2, 3], DType::F16), None);
    assert!(text(&[first.clone(), halved]).contains("f32 of [3] in one batch and f16 of [3]"));
    let more = (ones(&[1, 3], DType::F32), Some(ones(&[1], DType::F32)));
    assert!(text(&[first.clone(), more]).contains("at `1`: a sample has a count of 0"));
    assert!(text(&[]).contains("nothing to concatenate"));
}

/// A flow by hand that does not say how many tensors follow.
#[derive(Debug)]
struct Uncounted(Vec<Tensor>);

impl Flow for Uncounted {
    fn flatten(&self, into: &mut Flat) {
        self.0.iter().for_each(|tensor| into.tensor(tensor));
    }

    fn unflatten(from: &mut Flat) -> Result<Self> {
        Ok(Self(vec![from.take_tensor()?]))
    }
}

#[test]
fn batches_with_a_tensor_more_are_not_mixed_in_either_order() {
    let flow = |tensors| {
        Uncounted(vec![Tensor::ones(2, DType::F32, &Device::Cpu).expect("ones"); tensors])
    };
    for [first, second] in [[1, 2], [2, 1]] {
        let error = Flow::concatenate(&[flow(first), flow(second)]).expect_err("they differ");
        assert!(error.to_string().contains("f32 of [] in one batch alone"), "{error}");
    }
}

#[test]
fn rows_of_another_layout_are_refused() {
    let ones = Tensor::ones((2, 3), DType::F32, &Device::Cpu).expect("ones");
    let rows = ones.to_rows().expect("rows");
    let short = Tensor::from_rows(rows.layout(), [&rows.row(0)[1..]], &Device::Cpu);
    let error = short.expect_err("too short").to_string();
    assert!(error.contains("row 0 has 11 bytes, the layout 12"), "{error}");
    let pair = <(Tensor, Tensor)>::from_rows(rows.layout(), rows.iter(), &Device::Cpu);
    assert!(pair.expect_err("one tensor").to_string().contains("a tensor is lacking"));
    let two = (ones.clone(), ones).to_rows().expect("rows");
    let one = Tensor::from_rows(two.layout(), two.iter(), &Device::Cpu);
    assert!(one.expect_err("two tensors").to_string().contains("at `1`: nothing is left"));
    let none = Option::<Tensor>::from_rows(rows.layout(), rows.iter(), &Device::Cpu);
    assert!(none.expect_err("no count").to_string().contains("a tensor stands where a count"));
}

#[test]
fn a_damaged_layout_is_refused() {
    let layout = |shape: &str, dtype: &str| {
        let part =
            format!(r#"[{{"name": "", "tensor": {{"dtype": "{dtype}", "shape": {shape}}}}}]"#);
        serde_json::from_str::<FlowLayout>(&part)
    };
    assert_eq!(layout("[2, 3]", "f32").expect("a layout").width(), 24);
    let huge = u64::MAX / 2;
    for (shape, dtype) in [
        (format!("[{huge}, 3]"), "f32"),
        (format!("[0, {huge}, 3]"), "f32"),
        ("[2]".to_string(), "f4"),
        ("[2]".to_string(), "nonsense"),
    ] {
        assert!(layout(&shape, dtype).is_err(), "{shape} {dtype}");
    }
}

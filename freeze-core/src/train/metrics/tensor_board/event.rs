//! The messages of an event file, as far as they are written here, and how they lie in it.
//!
//! Field numbers are those of TensorFlow's `event.proto`, `summary.proto` and `tensor.proto`.

use prost::Message;

/// Something that happened at a step.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Event {
    /// Seconds since 1970.
    #[prost(double, tag = "1")]
    pub(super) wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(oneof = "What", tags = "3, 5, 7")]
    what: Option<What>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum What {
    #[prost(string, tag = "3")]
    FileVersion(String),
    #[prost(message, tag = "5")]
    Summary(Summary),
    #[prost(message, tag = "7")]
    SessionLog(SessionLog),
}

#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<Value>,
}

#[derive(Clone, PartialEq, Message)]
struct Value {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(float, optional, tag = "2")]
    simple_value: Option<f32>,
    #[prost(message, optional, tag = "8")]
    tensor: Option<Text>,
    #[prost(message, optional, tag = "9")]
    metadata: Option<Metadata>,
}

/// A tensor of one text.
#[derive(Clone, PartialEq, Message)]
struct Text {
    #[prost(int32, tag = "1")]
    dtype: i32,
    #[prost(bytes = "vec", repeated, tag = "8")]
    string_val: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
struct Metadata {
    #[prost(message, optional, tag = "1")]
    plugin: Option<Plugin>,
}

#[derive(Clone, PartialEq, Message)]
struct Plugin {
    #[prost(string, tag = "1")]
    name: String,
}

#[derive(Clone, PartialEq, Message)]
struct SessionLog {
    #[prost(int32, tag = "1")]
    status: i32,
}

/// The number of the type of texts.
const DT_STRING: i32 = 7;
/// Of a session that begins at a step: what there is from it on is forgotten.
const START: i32 = 1;

impl Event {
    /// What a file begins with.
    pub(super) fn first() -> Self {
        Self::of(0, What::FileVersion("brain.Event:2".into()))
    }

    pub(super) fn scalar(tag: &str, value: f32, step: i64) -> Self {
        let value = Value { tag: tag.into(), simple_value: Some(value), ..Default::default() };
        Self::of(step, What::Summary(Summary { value: vec![value] }))
    }

    pub(super) fn text(tag: &str, text: &str, step: i64) -> Self {
        let tensor = Text { dtype: DT_STRING, string_val: vec![text.as_bytes().to_vec()] };
        let metadata = Metadata { plugin: Some(Plugin { name: "text".into() }) };
        let (tensor, metadata) = (Some(tensor), Some(metadata));
        let value = Value { tag: tag.into(), tensor, metadata, ..Default::default() };
        Self::of(step, What::Summary(Summary { value: vec![value] }))
    }

    pub(super) fn start(step: i64) -> Self {
        Self::of(step, What::SessionLog(SessionLog { status: START }))
    }

    fn of(step: i64, what: What) -> Self {
        Self { wall_time: 0.0, step, what: Some(what) }
    }
}

/// The event with its length and the checksums of both, as TFRecord files have it.
pub(super) fn framed(event: &Event) -> Vec<u8> {
    let bytes = event.encode_to_vec();
    let length = (bytes.len() as u64).to_le_bytes();
    let [of_length, of_bytes] = [&length[..], &bytes].map(|part| masked(crc32c::crc32c(part)));
    [&length[..], &of_length.to_le_bytes(), &bytes, &of_bytes.to_le_bytes()].concat()
}

/// A checksum that is stored beside what it is of.
fn masked(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &str =
        "1800000000000000a37f4b2209000000000000f83f1a0d627261696e2e4576656e743a322a28646c";
    const SCALAR: &str =
        "1a00000000000000129bd82d09000000000000044010072a0d0a0b0a046c6f7373150000803ea884b989";
    const TEXT: &str = "2a00000000000000ae8d91f5090000000000000c4010082a1d0a1b0a057768792f6142080807420473616964\
         4a080a060a0474657874d43759e2";
    const STARTED: &str = "0f000000000000006d532b0909000000000000124010093a020801bceb5ebe";

    /// The bytes that tensorboard 2.21 writes for the same events.
    #[test]
    fn bytes_are_those_of_tensorboard() {
        let first = Event { wall_time: 1.5, ..Event::first() };
        let scalar = Event { wall_time: 2.5, ..Event::scalar("loss", 0.25, 7) };
        let text = Event { wall_time: 3.5, ..Event::text("why/a", "said", 8) };
        let start = Event { wall_time: 4.5, ..Event::start(9) };
        for (event, expected) in [(first, FIRST), (scalar, SCALAR), (text, TEXT), (start, STARTED)]
        {
            let hex: String = framed(&event).iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(hex, expected);
        }
    }
}

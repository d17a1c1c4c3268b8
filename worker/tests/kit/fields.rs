//! Structs for the fields of streams.

use std::error::Error;

use serde_json::json;
use waterspout_core::value::Value;
use waterspout_worker::component::fields::{Fields, Reader, Timestamp, Writer};
use waterspout_worker::component::{Bolt, ComponentError, Components, Context, Emit, Tuple};
use waterspout_worker::kit::{Kit, one_bolt};

#[derive(Fields)]
#[fields(crate = "waterspout_worker::component")]
struct All<'a> {
    text: &'a str,
    number: i64,
    small: u8,
    float: f64,
    yes: bool,
    bytes: &'a [u8],
    at: Timestamp,
    any: Value,
    maybe: Option<String>,
    #[field(name = "type")]
    kind: Option<i32>,
}

const NAMES: [&str; 10] = [
    "type", "maybe", "any", "at", "bytes", "yes", "float", "small", "number", "text",
];

/// Emits what it reads.
struct Copy {
    reader: Reader<All<'static>>,
    writer: Writer<All<'static>>,
}

impl Copy {
    fn new((): (), context: &Context) -> Result<Self, ComponentError> {
        Ok(Self {
            reader: context.reader()?,
            writer: context.writer("default")?,
        })
    }
}

impl Bolt for Copy {
    fn execute(&mut self, tuple: Tuple<'_>, out: &mut impl Emit) -> Result<(), ComponentError> {
        let all = self.reader.read(tuple)?;
        self.writer.emit(out, &all)
    }
}

fn start(reads: &[&str], emits: &[&str]) -> Result<Kit, String> {
    let mut components = Components::default();
    components.bolt("copy", Copy::new);
    let kit = Kit::of(one_bolt("copy", json!(null), reads, emits))
        .components(components)
        .feed("in")
        .start();
    kit.map_err(|error| error.source().unwrap().to_string())
}

fn values() -> Vec<Value> {
    vec![
        Value::Null,
        Value::from("perhaps"),
        Value::List(vec![Value::from(1)]),
        Value::Timestamp(7),
        Value::Bytes(vec![1, 2]),
        Value::Bool(true),
        Value::Float(0.5),
        Value::from(255),
        Value::from(-3),
        Value::from("word"),
    ]
}

#[test]
fn fields_are_found_by_name_whatever_their_order() {
    let mut sorted = NAMES;
    sorted.sort_unstable();
    let mut kit = start(&NAMES, &sorted).unwrap();
    kit.emit("in", values());
    let mut expected: Vec<(&str, Value)> = NAMES.into_iter().zip(values()).collect();
    expected.sort_by_key(|field| field.0);
    let expected: Vec<Value> = expected.into_iter().map(|field| field.1).collect();
    assert_eq!(kit.values("bolt", "default"), [expected]);
}

#[test]
fn a_field_that_a_stream_lacks_is_found_at_the_start() {
    for (reads, emits, expected) in [
        (
            &NAMES[1..],
            &NAMES[..],
            "component 'bolt' reads field 'type', but the stream 'default' of its input 'in' has only: maybe, any,",
        ),
        (
            &NAMES[..],
            &NAMES[1..],
            "component 'bolt' emits to its stream 'default', which does not declare the field 'type'; that stream declares: maybe,",
        ),
        (
            &NAMES[..],
            &[&NAMES[..], &["more"]].concat()[..],
            "component 'bolt' emits to its stream 'default', and writes no field 'more'; that stream declares: type,",
        ),
    ] {
        let error = start(reads, emits).map(|_| ()).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn a_value_that_its_field_cannot_hold_is_named() {
    for (field, value, expected) in [
        (
            9,
            Value::from(1),
            "whose field 'text' is an integer, and it reads it as a text",
        ),
        (
            8,
            Value::Float(1.0),
            "whose field 'number' is a float, and it reads it as an integer",
        ),
        (
            7,
            Value::from(256),
            "whose field 'small' is an integer, and it reads it as an integer from 0 to 255",
        ),
        (
            7,
            Value::Null,
            "whose field 'small' is null, and it reads it as an integer from 0 to 255",
        ),
        (
            0,
            Value::from("x"),
            "whose field 'type' is a text, and it reads it as an integer of 32 bits",
        ),
    ] {
        let mut kit = start(&NAMES, &NAMES).unwrap();
        let mut row = values();
        row[field] = value;
        let emit = std::panic::AssertUnwindSafe(|| kit.emit("in", row));
        let panic = std::panic::catch_unwind(emit).unwrap_err();
        let text = panic.downcast_ref::<String>().unwrap();
        assert!(text.contains(expected), "{text}");
    }
}

/// Reads one of its two inputs as a struct.
struct Part(Reader<Number>);

#[derive(Fields)]
#[fields(crate = "waterspout_worker::component")]
struct Number {
    number: i64,
}

impl Bolt for Part {
    fn execute(&mut self, tuple: Tuple<'_>, out: &mut impl Emit) -> Result<(), ComponentError> {
        if !self.0.reads(tuple) {
            return Ok(());
        }
        let number = self.0.read(tuple)?.number;
        out.emit(0, |row| {
            row.int(number + 1);
        })
    }
}

#[test]
fn one_of_several_inputs_can_be_read_as_a_struct() {
    use crate::cases::{SHUFFLE, bolt, graph, sink, spout};
    let mut components = Components::default();
    components.bolt("part", |(): (), context| {
        Ok(Part(context.reader_of("numbers", "default")?))
    });
    let inputs = [("numbers", SHUFFLE), ("words", SHUFFLE)];
    let graph = graph([
        spout("numbers", &["number"]),
        spout("words", &["word"]),
        bolt("part", "part", json!(null), 1, &inputs, &["number"]),
        sink("out", 1, &[("part", SHUFFLE)]),
    ]);
    let mut kit = Kit::of(graph)
        .components(components)
        .feed("numbers")
        .feed("words")
        .start()
        .unwrap();
    kit.emit("words", [Value::from("a")]);
    kit.emit("numbers", [Value::from(1)]);
    assert_eq!(kit.values("part", "default"), [[Value::from(2)]]);
}

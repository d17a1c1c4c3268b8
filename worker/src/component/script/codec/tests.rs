//! Both encodings against the same values: in Rust, and in the libraries for Python and Node.js.
//!
//! `script/vectors.json` has each value once as it is in rows, in MessagePack and in JSON. `UPDATE_GOLDEN=1` renews it.

use std::path::PathBuf;
use std::process::Command;

use proptest::prelude::*;
use serde_json::{Value as Json, json};
use waterspout_core::value::{Row, RowWriter, Value};

use super::{JsonReader, JsonWriter, PackReader, PackWriter, Read, Write};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len() / 2)
        .map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).expect("hexadecimal digits"))
        .collect()
}

fn written<W: Write>(value: &Value) -> Vec<u8> {
    let row = value.encode();
    let mut writer = W::new(Vec::new());
    writer.value(Row::new(&row).get(0).expect("a value"));
    writer.done()
}

fn read<'a, R: Read<'a>>(bytes: &'a [u8]) -> Value {
    let mut reader = R::new(bytes);
    let value = reader.value().unwrap_or_else(|fault| panic!("{fault}"));
    assert!(reader.is_at_end());
    value
}

fn map(entries: &[(&str, Value)]) -> Value {
    Value::Map(
        entries
            .iter()
            .map(|(key, value)| ((*key).to_owned(), value.clone()))
            .collect(),
    )
}

/// The name of each value, and what it is after a way through JavaScript if that changes it.
fn values() -> Vec<(&'static str, Value, Option<Value>)> {
    let big = |bytes: &[u8]| Value::BigInt(bytes.to_vec());
    vec![
        ("null", Value::Null, None),
        ("true", Value::Bool(true), None),
        ("false", Value::Bool(false), None),
        ("zero", Value::Int(0), None),
        ("small negative", Value::Int(-1), None),
        ("byte", Value::Int(200), None),
        ("negative beyond a byte", Value::Int(-200), None),
        ("beyond 32 bits", Value::Int(1 << 40), None),
        (
            "beyond the safe integers of JavaScript",
            Value::Int((1 << 53) + 1),
            None,
        ),
        ("largest of 64 bits", Value::Int(i64::MAX), None),
        ("smallest of 64 bits", Value::Int(i64::MIN), None),
        (
            "unsigned 64 bits",
            big(&[0, 255, 255, 255, 255, 255, 255, 255, 255]),
            None,
        ),
        ("beyond 64 bits", big(&[1, 0, 0, 0, 0, 0, 0, 0, 0, 0]), None),
        (
            "negative beyond 64 bits",
            big(&[0xfe, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
            None,
        ),
        ("5000 decimal digits", big(&[0x5a; 2_077]), None),
        ("fraction", Value::Float(0.1), None),
        ("float without a fraction", Value::Float(1.0), Some(Value::Int(1))),
        ("large float", Value::Float(1e300), None),
        ("negative zero", Value::Float(-0.0), Some(Value::Int(0))),
        ("NaN", Value::Float(f64::NAN), None),
        ("infinity", Value::Float(f64::INFINITY), None),
        ("negative infinity", Value::Float(f64::NEG_INFINITY), None),
        ("empty text", Value::from(""), None),
        (
            "text",
            Value::from("grüße, 世界 🌧 \u{0} \" \\ \n \u{2028} end"),
            None,
        ),
        ("text of 40 bytes", Value::Text("x".repeat(40)), None),
        ("text of 70,000 bytes", Value::Text("é".repeat(35_000)), None),
        ("empty bytes", Value::Bytes(Vec::new()), None),
        ("bytes", Value::Bytes((0..=255).collect()), None),
        ("moment", Value::Timestamp(1_700_000_000_123_456), None),
        ("before 1970", Value::Timestamp(-1), None),
        ("largest moment", Value::Timestamp(i64::MAX), None),
        ("smallest moment", Value::Timestamp(i64::MIN), None),
        ("empty list", Value::List(Vec::new()), None),
        (
            "nested",
            Value::List(vec![
                Value::Null,
                Value::List(vec![Value::from("a"), Value::Int(5)]),
                map(&[
                    ("k", Value::List(vec![Value::Bytes(vec![1])])),
                    ("", Value::Float(0.5)),
                ]),
            ]),
            None,
        ),
        ("long list", Value::List(vec![Value::Int(7); 70_000]), None),
        ("empty map", map(&[]), None),
        (
            "map with a key that is a tag",
            map(&[("$bytes", Value::from("QQ=="))]),
            None,
        ),
        (
            "map with a key that looks like a tag",
            map(&[("$other", Value::Int(1))]),
            None,
        ),
        (
            "map in a map with tags",
            map(&[
                ("$map", map(&[("$int", Value::from("0x1"))])),
                ("$time", Value::Timestamp(5)),
            ]),
            None,
        ),
        (
            "map with odd keys",
            map(&[("__proto__", Value::Int(1)), ("ключ", Value::Int(2))]),
            None,
        ),
    ]
}

fn vectors() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../script/vectors.json")
}

#[test]
fn the_vectors_are_what_is_written_and_read() {
    let all: Vec<Json> = values()
        .into_iter()
        .map(|(name, value, in_javascript)| {
            let (packed, text) = (written::<PackWriter>(&value), written::<JsonWriter>(&value));
            assert_eq!(read::<PackReader<'_>>(&packed), value, "{name}");
            assert_eq!(read::<JsonReader<'_>>(&text), value, "{name}");
            let text = String::from_utf8(text).expect("JSON is text");
            let mut vector =
                json!({"name": name, "row": hex(&value.encode()), "pack": hex(&packed), "json": text});
            if let Some(value) = in_javascript {
                vector["javascript"] = hex(&value.encode()).into();
            }
            vector
        })
        .collect();
    let lines: Vec<String> = all.iter().map(Json::to_string).collect();
    let text = format!("[\n{}\n]\n", lines.join(",\n"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(vectors(), &text).expect("it can be written");
    }
    let known = std::fs::read_to_string(vectors()).unwrap_or_default();
    assert!(
        known == text,
        "script/vectors.json is stale; renew it with UPDATE_GOLDEN=1"
    );
}

/// Runs a program over the vectors. It prints a list of what each became, as lists of `[encoding, text]`.
fn through(mut program: Command, key: &str) {
    let output = program.arg(vectors()).output().expect("it starts");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let answers: Vec<Vec<(String, String)>> = serde_json::from_slice(&output.stdout).expect("a list");
    let vectors: Vec<Json> =
        serde_json::from_str(&std::fs::read_to_string(vectors()).expect("the vectors")).expect("a list");
    assert_eq!(answers.len(), vectors.len());
    for (vector, answers) in vectors.iter().zip(answers) {
        let expected = vector
            .get(key)
            .unwrap_or(&vector["row"])
            .as_str()
            .expect("a text");
        assert!(!answers.is_empty());
        for (encoding, text) in answers {
            let value = match encoding.as_str() {
                "pack" => read::<PackReader<'_>>(&bytes(&text)),
                _ => read::<JsonReader<'_>>(text.as_bytes()),
            };
            assert!(
                hex(&value.encode()) == expected,
                "{} by {encoding}",
                vector["name"]
            );
        }
    }
}

const PYTHON: &str = r#"
import json, sys
sys.path.insert(0, sys.argv[1])
import waterspout_script as library
codecs = [("json", library._Json())]
if library.msgpack is not None:
    codecs.append(("pack", library._Pack()))
read = {"json": lambda text: codecs[0][1].decode(text.encode()), "pack": lambda text: codecs[1][1].decode(bytes.fromhex(text))}
show = {"json": lambda data: data.decode(), "pack": lambda data: data.hex()}
answers = []
for vector in json.load(open(sys.argv[2], encoding="utf-8")):
    ways = [(a, b) for a, _ in codecs for b in codecs]
    answers.append([[name, show[name](codec.encode(read[source](vector[source])))] for source, (name, codec) in ways])
json.dump(answers, sys.stdout)
"#;

/// A Python that has MessagePack.
fn python() -> PathBuf {
    let test = std::env::current_exe().expect("a running test has a file");
    let target = test.ancestors().nth(3);
    let python = target.map(|target| target.join("python/bin/python"));
    let python = python.filter(|python| python.exists());
    python.expect("run `cargo xtask setup`, which makes the tests' own Python")
}

#[test]
fn every_value_goes_through_python_by_both_encodings() {
    let library = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../script/python");
    for python in [PathBuf::from("python3"), python()] {
        let mut program = Command::new(python);
        program
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .args(["-c", PYTHON])
            .arg(&library);
        through(program, "python");
    }
}

const NODE: &str = r#"
const [library, vectors] = process.argv.slice(1);
const { encode, decode, parse, stringify } = require(library);
const all = JSON.parse(require('node:fs').readFileSync(vectors, 'utf8'));
const read = { json: parse, pack: (text) => decode(Buffer.from(text, 'hex')) };
const show = { json: stringify, pack: (value) => Buffer.from(encode(value)).toString('hex') };
const ways = ['json', 'pack'].flatMap((from) => ['json', 'pack'].map((to) => [from, to]));
process.stdout.write(JSON.stringify(all.map((vector) =>
  ways.map(([from, to]) => [to, show[to](read[from](vector[from]))]))));
"#;

#[test]
fn every_value_goes_through_node_by_both_encodings() {
    let library = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../script/node/waterspout-script.js");
    let mut program = Command::new("node");
    program
        .args(["-e", NODE])
        .arg(library.canonicalize().expect("it is there"));
    through(program, "javascript");
}

#[test]
fn a_value_of_10_mb_is_read_and_a_larger_one_than_16_mib_is_refused() {
    let large = Value::Text("é".repeat(5 << 20));
    assert_eq!(read::<PackReader<'_>>(&written::<PackWriter>(&large)), large);
    assert_eq!(read::<JsonReader<'_>>(&written::<JsonWriter>(&large)), large);
    let too_large = Value::Text("x".repeat((16 << 20) + 1));
    assert!(
        PackReader::new(&written::<PackWriter>(&too_large))
            .value()
            .is_err()
    );
    assert!(
        JsonReader::new(&written::<JsonWriter>(&too_large))
            .value()
            .is_err()
    );
    let many = [vec![0xdd, 0, 0xff, 0xff, 0xff], vec![0xc0; 0xff_ffff]].concat();
    assert!(PackReader::new(&many).value().is_ok());
    let deep = [vec![0x91; 70], vec![0xc0]].concat();
    assert!(
        PackReader::new(&deep)
            .value()
            .is_err_and(|fault| fault.is_of_value())
    );
    assert!(JsonReader::new("[".repeat(5_000).as_bytes()).value().is_err());
}

proptest! {
    #[test]
    fn no_bytes_harm_a_reader(bytes in prop::collection::vec(any::<u8>(), 0..64), text in "[\\[\\]{},:\"\\\\$a-f0-9.eE +-]{0,40}") {
        let mut data = Vec::new();
        let mut row = RowWriter::new(&mut data);
        let _ = PackReader::new(&bytes).field(&mut row, 0);
        let _ = PackReader::new(&bytes).skip();
        for bytes in [bytes.as_slice(), text.as_bytes()] {
            let _ = JsonReader::new(bytes).field(&mut row, 0);
            let _ = JsonReader::new(bytes).skip();
        }
    }
}

//! Lists of values as JSON text, by the rules of the script protocol, for tools that drive a worker.

use waterspout_core::value::{Row, RowWriter, Value, ValueRef};

use super::codec::{Fault, JsonReader, JsonWriter, Read, Write};

/// A text that is no list of values.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("read a list of values")]
pub struct TextError(#[source] Fault);

/// The values of a JSON array.
///
/// # Errors
/// If the text is none.
pub fn read(text: &str) -> Result<Vec<Value>, TextError> {
    let read = || {
        let mut reader = JsonReader::new(text.as_bytes());
        let mut items = reader.array()?;
        let mut row = Vec::new();
        let mut writer = RowWriter::new(&mut row);
        while reader.next(&mut items)? {
            reader.field(&mut writer, 0)?;
        }
        if !reader.is_at_end() {
            return Err(Fault::Value("there is something behind the list"));
        }
        Ok(Row::new(&row).iter().map(ValueRef::to_value).collect())
    };
    read().map_err(TextError)
}

/// Values as a JSON array.
pub fn write(values: &[Value]) -> String {
    let mut row = Vec::new();
    let mut writer = RowWriter::new(&mut row);
    for value in values {
        writer.value(value);
    }
    let mut text = JsonWriter::new(Vec::new());
    text.row(Row::new(&row), values.len());
    String::from_utf8(text.done()).expect("JSON is text")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_back_as_they_were() {
        let texts = [
            "[]",
            r#"[1,1.5,"é",null,true,[1,{"a":2}],{"$bytes":"AAE="},{"$time":7}]"#,
        ];
        for text in texts {
            assert_eq!(write(&read(text).expect("it is a list")), text);
        }
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for text in ["", "1", "[1", "[1] 2", "{}"] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}

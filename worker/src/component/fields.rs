//! Structs for the fields of streams.
//!
//! Owns: what a struct's field may hold, and looking the struct's names up among those of a stream when a component is
//! made, so that a tuple is read and written by position. Leaves to others: the code of a struct (`waterspout-derive`).
//! Invariant: a name that a stream lacks is found when the worker starts, never at a tuple.

use std::marker::PhantomData;

pub use waterspout_core::value::{Row, RowWriter};
use waterspout_core::value::{Value, ValueRef};
pub use waterspout_derive::Fields;

use super::{ComponentError, Context, Emit, InputFields, Tuple};

/// A struct whose fields are those of a stream; derived. It may borrow from the tuple that it is read from.
pub trait Fields {
    /// The struct, with what it borrows.
    type Of<'a>: Fields;
    /// The names of the fields, in the order of the struct.
    const NAMES: &'static [&'static str];

    /// Reads a row in which the struct's fields are at these positions.
    ///
    /// # Errors
    /// If a value is not what its field can hold.
    fn read<'a>(row: Row<'a>, positions: &[usize]) -> Result<Self::Of<'a>, WrongField>;

    /// Writes the `index`-th field of the struct.
    fn write(&self, index: usize, row: &mut RowWriter<'_>);
}

/// A value that its field cannot hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WrongField {
    /// Which field of the struct.
    pub index: usize,
    /// What it can hold, such as `a text`.
    pub expected: &'static str,
    /// What came.
    pub found: &'static str,
}

/// What a field of a struct may hold.
pub trait Field<'a>: Sized {
    /// In words.
    const EXPECTED: &'static str;
    /// Reads it; `None` if it is something else.
    fn read(value: ValueRef<'a>) -> Option<Self>;
    /// Writes it.
    fn write(&self, row: &mut RowWriter<'_>);
}

/// A point in time, in microseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

/// Reads the `index`-th field of a struct. For code that is derived.
///
/// # Errors
/// If the value is not what the field can hold.
#[inline]
pub fn read_field<'a, T: Field<'a>>(
    row: Row<'a>,
    positions: &[usize],
    index: usize,
) -> Result<T, WrongField> {
    let value = positions.get(index).and_then(|&position| row.get(position));
    value.and_then(T::read).ok_or_else(|| WrongField {
        index,
        expected: T::EXPECTED,
        found: value.map_or("not there", kind),
    })
}

fn kind(value: ValueRef<'_>) -> &'static str {
    match value {
        ValueRef::Null => "null",
        ValueRef::Bool(_) => "a boolean",
        ValueRef::Int(_) => "an integer",
        ValueRef::Float(_) => "a float",
        ValueRef::Text(_) => "a text",
        ValueRef::Bytes(_) => "bytes",
        ValueRef::List(_) => "a list",
        ValueRef::Map(_) => "a map",
        ValueRef::BigInt(_) => "a big integer",
        ValueRef::Timestamp(_) => "a timestamp",
    }
}

macro_rules! field {
    ($type:ty, $expected:literal, $value:ident => $read:expr, $this:ident, $row:ident => $write:expr) => {
        impl<'a> Field<'a> for $type {
            const EXPECTED: &'static str = $expected;

            #[inline]
            fn read($value: ValueRef<'a>) -> Option<Self> {
                $read
            }

            #[inline]
            fn write(&self, $row: &mut RowWriter<'_>) {
                let $this = self;
                $write;
            }
        }
    };
}

macro_rules! integer {
    ($type:ty, $expected:literal) => {
        field!($type, $expected,
            value => match value { ValueRef::Int(int) => int.try_into().ok(), _ => None },
            this, row => row.int(i64::from(*this)));
    };
}

integer!(i64, "an integer");
integer!(i32, "an integer of 32 bits");
integer!(i16, "an integer of 16 bits");
integer!(i8, "an integer of 8 bits");
integer!(u32, "an integer from 0 to 4294967295");
integer!(u16, "an integer from 0 to 65535");
integer!(u8, "an integer from 0 to 255");
field!(bool, "a boolean",
    value => match value { ValueRef::Bool(value) => Some(value), _ => None },
    this, row => row.bool(*this));
field!(f64, "a float",
    value => match value { ValueRef::Float(value) => Some(value), _ => None },
    this, row => row.float(*this));
field!(&'a str, "a text",
    value => match value { ValueRef::Text(text) => Some(text), _ => None },
    this, row => row.text(this));
field!(String, "a text",
    value => match value { ValueRef::Text(text) => Some(text.to_owned()), _ => None },
    this, row => row.text(this));
field!(&'a [u8], "bytes",
    value => match value { ValueRef::Bytes(bytes) => Some(bytes), _ => None },
    this, row => row.bytes(this));
field!(Vec<u8>, "bytes",
    value => match value { ValueRef::Bytes(bytes) => Some(bytes.to_owned()), _ => None },
    this, row => row.bytes(this));
field!(Timestamp, "a timestamp",
    value => match value { ValueRef::Timestamp(micros) => Some(Self(micros)), _ => None },
    this, row => row.timestamp(this.0));
field!(Value, "a value", value => Some(value.to_value()), this, row => row.value(this));
field!(ValueRef<'a>, "a value", value => Some(value), this, row => row.value(&this.to_value()));

impl<'a, T: Field<'a>> Field<'a> for Option<T> {
    const EXPECTED: &'static str = T::EXPECTED;

    #[inline]
    fn read(value: ValueRef<'a>) -> Option<Self> {
        match value {
            ValueRef::Null => Some(None),
            value => T::read(value).map(Some),
        }
    }

    #[inline]
    fn write(&self, row: &mut RowWriter<'_>) {
        match self {
            Some(value) => value.write(row),
            None => {
                row.null();
            }
        }
    }
}

/// Reads tuples as a struct. [`Context::reader`] makes it.
#[derive(Debug, Clone)]
pub struct Reader<T> {
    component: String,
    /// The positions of the struct's fields, by stream number.
    by_stream: Vec<(u16, Box<[usize]>)>,
    fields: PhantomData<fn() -> T>,
}

impl<T: Fields> Reader<T> {
    fn new(context: &Context, inputs: &[&InputFields]) -> Result<Self, ComponentError> {
        let by_stream = inputs
            .iter()
            .map(|input| {
                let positions = T::NAMES.iter().map(|name| {
                    let position = input.fields.iter().position(|field| field == name);
                    position.ok_or_else(|| lacks(context, name, input))
                });
                Ok((input.stream, positions.collect::<Result<_, _>>()?))
            })
            .collect::<Result<_, ComponentError>>()?;
        Ok(Self {
            component: context.component.clone(),
            by_stream,
            fields: PhantomData,
        })
    }

    fn positions(&self, stream: u16) -> Option<&[usize]> {
        let positions = self.by_stream.iter().find(|known| known.0 == stream);
        positions.map(|(_, positions)| &**positions)
    }

    /// Whether the tuple is of a stream that this reads.
    #[inline]
    pub fn reads(&self, tuple: Tuple<'_>) -> bool {
        self.positions(tuple.stream).is_some()
    }

    /// The tuple as the struct.
    ///
    /// # Errors
    /// If a value is not what its field can hold, or the tuple is of a stream that this does not read. Handed on, it ends
    /// the worker's process; a bolt may fail the tuple instead.
    #[inline]
    pub fn read<'a>(&self, tuple: Tuple<'a>) -> Result<T::Of<'a>, ComponentError> {
        let positions = self.positions(tuple.stream).unwrap_or_default();
        T::read(tuple.row, positions).map_err(|wrong| self.wrong(wrong))
    }

    #[cold]
    fn wrong(&self, wrong: WrongField) -> ComponentError {
        ComponentError::Tuple(format!(
            "component '{}' got a tuple whose field '{}' is {}, and it reads it as {}",
            self.component,
            T::NAMES[wrong.index],
            wrong.found,
            wrong.expected
        ))
    }
}

fn lacks(context: &Context, name: &str, input: &InputFields) -> ComponentError {
    ComponentError::Settings(format!(
        "component '{}' reads field '{name}', but the stream '{}' of its input '{}' has only: {}",
        context.component,
        input.name,
        input.component,
        input.fields.join(", ")
    ))
}

/// Emits structs to one stream. [`Context::writer`] makes it.
#[derive(Debug, Clone)]
pub struct Writer<T> {
    stream: usize,
    /// The struct's field for each of the stream's.
    order: Box<[usize]>,
    fields: PhantomData<fn() -> T>,
}

impl<T: Fields> Writer<T> {
    /// The number of the stream, as emits take it.
    pub fn stream(&self) -> usize {
        self.stream
    }

    /// What writes a struct as a row of the stream, for emits of any kind: `out.emit(writer.stream(), writer.row(&it))`.
    #[inline]
    pub fn row<'w>(&'w self, value: &'w T::Of<'_>) -> impl FnOnce(&mut RowWriter<'_>) + 'w {
        move |row| self.order.iter().for_each(|&index| value.write(index, row))
    }

    /// Emits a struct, anchored to the tuple at hand.
    ///
    /// # Errors
    /// As [`Emit::emit`].
    #[inline]
    pub fn emit(&self, out: &mut impl Emit, value: &T::Of<'_>) -> Result<(), ComponentError> {
        out.emit(self.stream, self.row(value))
    }
}

impl Context {
    /// What reads tuples of all inputs as structs.
    ///
    /// # Errors
    /// If an input stream lacks a field of the struct.
    pub fn reader<T: Fields>(&self) -> Result<Reader<T>, ComponentError> {
        Reader::new(self, &self.inputs.iter().collect::<Vec<_>>())
    }

    /// What reads tuples of one input stream as structs.
    ///
    /// # Errors
    /// If there is no such input, or it lacks a field of the struct.
    pub fn reader_of<T: Fields>(&self, from: &str, stream: &str) -> Result<Reader<T>, ComponentError> {
        let inputs = self
            .inputs
            .iter()
            .filter(|input| input.component == from && input.name == stream);
        match inputs.collect::<Vec<_>>().as_slice() {
            [] => Err(ComponentError::Settings(format!(
                "component '{}' reads the stream '{stream}' of '{from}'; name it under 'inputs'",
                self.component
            ))),
            inputs => Reader::new(self, inputs),
        }
    }

    /// What emits structs to an output stream, whose fields must be those of the struct, in any order.
    ///
    /// # Errors
    /// If there is no such stream, or its fields are others.
    pub fn writer<T: Fields>(&self, stream: &str) -> Result<Writer<T>, ComponentError> {
        let number = self.output(stream)?;
        let fields = &self.outputs[number].fields;
        let wrong = |problem: String| {
            ComponentError::Settings(format!(
                "component '{}' emits to its stream '{stream}', {problem}; that stream declares: {}",
                self.component,
                fields.join(", ")
            ))
        };
        if let Some(name) = T::NAMES
            .iter()
            .find(|name| !fields.iter().any(|field| field == *name))
        {
            return Err(wrong(format!("which does not declare the field '{name}'")));
        }
        let order = fields.iter().map(|field| {
            let index = T::NAMES.iter().position(|name| name == field);
            index.ok_or_else(|| wrong(format!("and writes no field '{field}'")))
        });
        Ok(Writer {
            stream: number,
            order: order.collect::<Result<_, _>>()?,
            fields: PhantomData,
        })
    }
}

//! `stdout`: a sink that prints each tuple as a line.

use std::io::Write;

use serde_json::Value;
use waterspout_core::component::stdout::{LineFormat, StdoutConfig};

use super::line::append_line;
use super::{Bolt, ComponentError, Context, Emit, InputFields, Tuple, registry};

/// What a pipe takes in one piece when several processes write to it (POSIX).
const PIPE_BUF: usize = 4096;

/// The sink.
#[derive(Debug)]
pub struct Stdout {
    format: LineFormat,
    inputs: Vec<InputFields>,
    shared: bool,
    lines: Vec<u8>,
}

impl Stdout {
    /// Makes the sink.
    ///
    /// # Errors
    /// If the settings are none.
    pub fn new(config: &Value, context: &Context) -> Result<Self, ComponentError> {
        let config: StdoutConfig = registry::parse(config, context)?;
        let format = if context.json_stdout {
            LineFormat::Json
        } else {
            config.format
        };
        Ok(Self {
            format,
            inputs: context.inputs.clone(),
            shared: context.shared_stdout,
            lines: Vec::new(),
        })
    }
}

impl Bolt for Stdout {
    fn execute(&mut self, tuple: Tuple<'_>, _out: &mut impl Emit) -> Result<(), ComponentError> {
        let input = self.inputs.iter().find(|input| input.stream == tuple.stream);
        append_line(
            &mut self.lines,
            self.format,
            input.map_or(&[], |input| &input.fields),
            tuple.row,
        );
        Ok(())
    }

    fn flush(&mut self) -> Result<(), ComponentError> {
        let mut out = std::io::stdout().lock();
        let written = if self.shared {
            pieces(&self.lines).try_for_each(|piece| out.write_all(piece).and_then(|()| out.flush()))
        } else {
            out.write_all(&self.lines).and_then(|()| out.flush())
        };
        self.lines.clear();
        written.map_err(|error| ComponentError::outside("write to standard output", error))
    }
}

/// Whole lines, as many in a piece as a pipe takes at once. A longer line is a piece of its own.
fn pieces(lines: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = lines;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let within = rest.len().min(PIPE_BUF);
        let end = match rest[..within].iter().rposition(|&byte| byte == b'\n') {
            Some(last) => last + 1,
            None => rest
                .iter()
                .position(|&byte| byte == b'\n')
                .map_or(rest.len(), |first| first + 1),
        };
        let (piece, behind) = rest.split_at(end);
        rest = behind;
        Some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_whole_lines_that_a_pipe_takes_at_once() {
        let long = [b"x".repeat(5000), b"\n".to_vec()].concat();
        let lines = [b"short\n".repeat(2000), long.clone(), b"end\n".to_vec()].concat();
        let found: Vec<_> = pieces(&lines).collect();
        assert_eq!(found.concat(), lines);
        assert!(
            found
                .iter()
                .all(|piece| piece.ends_with(b"\n") && (piece.len() <= PIPE_BUF || *piece == long))
        );
    }
}

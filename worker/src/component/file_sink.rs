//! `file` as a bolt: one file per task, written before the tuples are acked.
//!
//! Guarantee: each line in the file is whole. A line that a process was writing when it died was never acked; the next
//! process cuts it off before it appends.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde_json::Value;
use waterspout_core::component::file::FileSinkConfig;
use waterspout_core::component::stdout::LineFormat;

use super::line::append_line;
use super::{Bolt, ComponentError, Context, Emit, InputFields, Tuple, registry};

/// Bytes that are read at once when the end of the last whole line is looked for.
const STEP: u64 = 64 << 10;

/// The sink.
#[derive(Debug)]
pub struct FileSink {
    format: LineFormat,
    inputs: Vec<InputFields>,
    path: PathBuf,
    file: File,
    lines: Vec<u8>,
}

impl FileSink {
    /// Opens the task's file, and makes it and its directory if they are missing.
    ///
    /// # Errors
    /// If the settings are none, or the file cannot be written.
    pub fn new(config: &Value, context: &Context) -> Result<Self, ComponentError> {
        let config: FileSinkConfig = registry::parse(config, context)?;
        let directory = context.base.join(&config.directory);
        let ending = if config.format == LineFormat::Json {
            "jsonl"
        } else {
            "txt"
        };
        let path = directory.join(format!("{}-{}.{ending}", context.component, context.index));
        let failed =
            |error| ComponentError::outside(format!("open '{}' to write to it", path.display()), error);
        std::fs::create_dir_all(&directory).map_err(failed)?;
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(failed)?;
        heal(&mut file).map_err(failed)?;
        Ok(Self {
            format: config.format,
            inputs: context.inputs.clone(),
            path,
            file,
            lines: Vec::new(),
        })
    }

    /// Where the lines go.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Cuts off what is behind the last line end.
fn heal(file: &mut File) -> std::io::Result<()> {
    // A pipe or a device has no end to look at.
    if !file.metadata()?.is_file() {
        return Ok(());
    }
    let length = file.metadata()?.len();
    let mut end = length;
    while end > 0 {
        let start = end.saturating_sub(STEP);
        let mut bytes = vec![0; (end - start) as usize];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(&mut bytes)?;
        if let Some(last) = memchr::memrchr(b'\n', &bytes) {
            end = start + last as u64 + 1;
            break;
        }
        end = start;
    }
    if end < length { file.set_len(end) } else { Ok(()) }
}

impl Bolt for FileSink {
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
        let written = self.file.write_all(&self.lines);
        self.lines.clear();
        written.map_err(|error| {
            let advice = match error.kind() {
                std::io::ErrorKind::StorageFull => "; make room on the disk, nothing is lost",
                _ => "",
            };
            ComponentError::outside(format!("write to '{}'{advice}", self.path.display()), error)
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;
    use tempfile::TempDir;
    use waterspout_core::value::{Row, RowWriter};

    use super::super::testing::Recorder;
    use super::*;

    fn sink(base: &Path) -> FileSink {
        let context = Context {
            topology: "test".into(),
            component: "out".into(),
            task: 3,
            index: 0,
            tasks: 1,
            inputs: vec![InputFields {
                stream: 0,
                component: "words".into(),
                name: "default".into(),
                fields: vec!["word".into()],
                grouping: waterspout_core::graph::Grouping::Shuffle,
            }],
            outputs: Vec::new(),
            components: Vec::new(),
            base: base.to_owned(),
            shared_stdout: false,
            json_stdout: false,
            services: Default::default(),
        };
        FileSink::new(&json!({"directory": "out"}), &context).expect("made")
    }

    fn write(sink: &mut FileSink, word: &str) {
        let mut row = Vec::new();
        RowWriter::new(&mut row).text(word);
        let tuple = Tuple {
            stream: 0,
            source: 0,
            row: Row::new(&row),
        };
        sink.execute(tuple, &mut Recorder::default()).expect("taken");
        sink.flush().expect("written");
    }

    proptest! {
        #[test]
        fn a_torn_line_is_cut_off_and_whole_lines_are_kept(whole in "([a-z]{0,5}\\n){0,5}", torn in "[a-z]{0,9}") {
            let directory = TempDir::new().expect("a directory");
            std::fs::create_dir(directory.path().join("out")).expect("made");
            let path = directory.path().join("out/out-0.txt");
            std::fs::write(&path, format!("{whole}{torn}")).expect("written");
            write(&mut sink(directory.path()), "next");
            prop_assert_eq!(std::fs::read_to_string(&path).expect("read"), format!("{whole}next\n"));
        }
    }
}

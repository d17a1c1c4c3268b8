//! `waterspout explain`.

use std::io::Write;
use std::process::ExitCode;

/// Prints what the field at `path` means.
pub(crate) fn explain(path: &str) -> ExitCode {
    match waterspout_api::schema::explain(path) {
        Ok(text) => match writeln!(std::io::stdout(), "{}", text.trim_end()) {
            Ok(()) => ExitCode::SUCCESS,
            // Whoever read has read enough.
            Err(_) => ExitCode::FAILURE,
        },
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

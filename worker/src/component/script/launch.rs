//! From the settings of a component to a program that can be started.
//!
//! Owns: the files of inline scripts and of ConfigMaps, which interpreter runs what, the libraries that are part of the
//! worker. Leaves to others: starting it ([`super::spawn`]).

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use tempfile::TempDir;
use waterspout_core::component::script::{
    CommandConfig, EnvVar, KIND, Language, Protocol, ScriptConfig, ScriptFile, ScriptLimits, Serializer,
    take_directory, take_files,
};

use super::super::{ComponentError, Context, registry};
use super::framing::Framing;
use super::multilang;
use super::spawn::{Program, Wiring};

const PYTHON_LIBRARY: &str = include_str!("../../../../script/python/waterspout_script.py");
const NODE_LIBRARY: &str = include_str!("../../../../script/node/waterspout-script.js");
const NODE_NAME: &str = "waterspout-script.cjs";
const PYTHON_NAME: &str = "waterspout_script.py";

/// What a program speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Speech {
    /// The script protocol.
    Batch,
    /// Storm's.
    Multilang(Serializer),
}

/// All that is needed to start the program of a task.
pub(super) struct Launch {
    pub(super) program: Program,
    pub(super) framing: Framing,
    pub(super) speech: Speech,
    pub(super) limits: ScriptLimits,
    /// The settings that the program gets.
    pub(super) config: Value,
    /// The file of a script.
    pub(super) script: Option<String>,
}

impl Launch {
    /// Writes the files of a script, and finds out how it is started.
    ///
    /// # Errors
    /// If the settings cannot work, or the files cannot be written.
    pub(super) fn prepare(kind: &str, config: &Value, context: &Context) -> Result<Self, ComponentError> {
        if kind == KIND {
            let mut config = config.clone();
            let given = Given {
                files: take_files(&mut config),
                directory: take_directory(&mut config).map(PathBuf::from),
            };
            script(registry::parse(&config, context)?, &given, context)
        } else {
            command(registry::parse(config, context)?, context)
        }
    }
}

/// What a plan has of a script's ConfigMap: the files, or where they lie.
struct Given {
    files: BTreeMap<String, ScriptFile>,
    directory: Option<PathBuf>,
}

fn command(config: CommandConfig, context: &Context) -> Result<Launch, ComponentError> {
    let (speech, framing, wiring) = match config.protocol {
        Protocol::Batch => (Speech::Batch, Framing::Lengths, Wiring::Own),
        Protocol::Multilang => (
            Speech::Multilang(config.serializer),
            multilang::framing(config.serializer),
            Wiring::Standard,
        ),
    };
    let directory = Directory::make(context)?;
    Ok(Launch {
        program: Program {
            argv: config.argv.into_iter().map(OsString::from).collect(),
            env: variables(config.env),
            directory: context.base.clone(),
            wiring,
            files: Arc::new(directory.0),
        },
        framing,
        speech,
        limits: config.limits,
        config: config.config.into(),
        script: None,
    })
}

fn script(config: ScriptConfig, given: &Given, context: &Context) -> Result<Launch, ComponentError> {
    let wrong = |problem: String| {
        let component = &context.component;
        ComponentError::Settings(format!("settings of component '{component}': {problem}"))
    };
    let directory = Directory::make(context)?;
    let (language, path) = if let Some(code) = &config.python {
        (Language::Python, directory.write("script.py", code)?)
    } else if let Some(code) = &config.javascript {
        (Language::JavaScript, directory.write("script.cjs", code)?)
    } else if let Some(file) = &config.file {
        let language =
            Language::of(file).ok_or_else(|| wrong(format!("the language of '{file}' is not known")))?;
        (language, context.base.join(file))
    } else if let Some(map) = &config.config_map {
        let language = Language::of(&map.key)
            .ok_or_else(|| wrong(format!("the language of '{}' is not known", map.key)))?;
        let path = match &given.directory {
            Some(mounted) => mounted.join(&map.key),
            None => {
                for (name, file) in &given.files {
                    match file {
                        ScriptFile::Text(text) => directory.write(name, text)?,
                        ScriptFile::Binary { base64 } => {
                            let bytes = STANDARD.decode(base64);
                            directory.write(
                                name,
                                bytes.map_err(|error| wrong(format!("file '{name}': {error}")))?,
                            )?
                        }
                    };
                }
                directory.path().join(&map.key)
            }
        };
        if !path.exists() {
            return Err(wrong(format!(
                "the ConfigMap '{}' has no key '{}'",
                map.name, map.key
            )));
        }
        (language, path)
    } else {
        return Err(wrong("no script is set".to_owned()));
    };
    let argv = match language {
        Language::Python => {
            let library = directory.write(PYTHON_NAME, PYTHON_LIBRARY)?;
            vec![OsString::from("python3"), library.into()]
        }
        Language::JavaScript => {
            let library = directory.write(NODE_NAME, NODE_LIBRARY)?;
            vec![OsString::from("node"), library.into()]
        }
    };
    let mut env = variables(config.env);
    env.push(("PYTHONUNBUFFERED".to_owned(), "1".to_owned()));
    env.push(("PYTHONDONTWRITEBYTECODE".to_owned(), "1".to_owned()));
    Ok(Launch {
        program: Program {
            argv,
            env,
            directory: context.base.clone(),
            wiring: Wiring::Own,
            files: Arc::new(directory.0),
        },
        framing: Framing::Lengths,
        speech: Speech::Batch,
        limits: config.limits,
        config: config.config.into(),
        script: Some(path.to_string_lossy().into_owned()),
    })
}

impl Launch {
    /// Where a program may leave a file with its number.
    pub(super) fn pid_directory(&self) -> String {
        self.program.files.path().to_string_lossy().into_owned()
    }
}

fn variables(env: Vec<EnvVar>) -> Vec<(String, String)> {
    env.into_iter()
        .map(|variable| (variable.name, variable.value))
        .collect()
}

/// The directory of a task's script.
struct Directory(TempDir);

impl Directory {
    fn make(context: &Context) -> Result<Self, ComponentError> {
        let prefix = format!("waterspout-{}-{}-", context.component, context.index);
        TempDir::with_prefix(prefix)
            .map(Self)
            .map_err(|error| ComponentError::outside("make a directory for a script", error))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> Result<PathBuf, ComponentError> {
        let path = self.0.path().join(name);
        std::fs::write(&path, content)
            .map_err(|error| ComponentError::outside(format!("write '{}'", path.display()), error))?;
        Ok(path)
    }
}

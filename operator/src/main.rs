//! The control plane of Waterspout.
//!
//! Owns: the command line. Leaves to others: the resource's definition (`waterspout_api::schema`).

use std::io::Write;

use anyhow::Context;
use clap::{Parser, Subcommand};

/// The control plane of Waterspout.
#[derive(Debug, Parser)]
#[command(name = "waterspout-operator", version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print the CustomResourceDefinition of Topology as YAML
    Crd,
}

fn main() -> anyhow::Result<()> {
    match Args::parse().command {
        Command::Crd => {
            let yaml = waterspout_api::schema::crd_yaml()?;
            std::io::stdout()
                .write_all(yaml.as_bytes())
                .context("cannot write to standard output")
        }
    }
}

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
    /// Print the reference of the Topology resource as Markdown
    Reference,
}

fn main() -> anyhow::Result<()> {
    let text = match Args::parse().command {
        Command::Crd => waterspout_api::schema::crd_yaml()?,
        Command::Reference => waterspout_api::schema::reference()?,
    };
    std::io::stdout()
        .write_all(text.as_bytes())
        .context("write to standard output")
}

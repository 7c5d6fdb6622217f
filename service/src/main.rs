//! `twinlock`: two-step verification beside your application.
#![forbid(unsafe_code)]

use clap::Parser;
use mimalloc_safe::MiMalloc;
use std::process::ExitCode;
use twinlock::cli::Command;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Two-step verification beside your application.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

fn main() -> ExitCode {
    twinlock::cli::main(Arguments::parse().command)
}

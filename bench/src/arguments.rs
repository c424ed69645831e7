//! The command line: which part to be, or what to measure. Refuses to know how.

use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{Args, Parser, Subcommand};

use crate::attacks::{Attacker, Attempt};
use crate::database::Store;
use crate::measures;

/// Measure postcall beside a bare relay on this machine, everything on loopback.
#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask bench",
    arg_required_else_help = true,
    override_usage = "cargo xtask bench [--store STORE] [--quick] [--only NAME[,NAME]]\n       cargo xtask bench [--store STORE] --publish"
)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub what: What,
}

/// What the program can be.
#[derive(Debug, Subcommand)]
pub enum What {
    /// Measure, print a table, write target/bench/report.json and report.svg
    Run(Run),
    /// Try the attacks of strangers and of other tenants, each beside honest users; fail where these suffer
    Attack(Attempt),
    /// Make one attack until told to end
    Attacker(Attacker),
    /// Answer 200 and count
    Sink,
    /// Pass every POST on to a URL, as a server is written
    Relay {
        /// Where to.
        url: String,
    },
    /// Pass every POST on to a URL, on one thread and with as little as will do
    Thinnest {
        /// Where to.
        url: String,
    },
    /// Accept and never answer
    Hang,
    /// Answer 503
    Busy,
}

/// What to measure.
#[derive(Args, Debug)]
pub struct Run {
    /// The postcall to measure.
    pub postcall: PathBuf,
    /// Short rounds and small backlogs: under a minute, to see that everything works
    #[arg(long)]
    pub quick: bool,
    /// Only these measures
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_parser = PossibleValuesParser::new(measures::names()))]
    pub only: Vec<String>,
    /// Where postcall keeps its books; for `postgres` a server is started on this machine and removed
    #[arg(long, value_name = "STORE", value_enum, default_value_t)]
    pub store: Store,
    /// Measure nothing: write the last whole run over this store into docs/performance.md; over SQLite also
    /// docs/performance.svg, over PostgreSQL also docs/scale.md
    #[arg(long, conflicts_with_all = ["quick", "only"])]
    pub publish: bool,
}

impl Run {
    /// As it was typed, without what differs from machine to machine.
    pub fn typed(&self) -> String {
        let mut typed = "cargo xtask bench".to_owned();
        if self.store == Store::Postgres {
            typed.push_str(" --store postgres");
        }
        if self.quick {
            typed.push_str(" --quick");
        }
        if !self.only.is_empty() {
            typed.push_str(" --only ");
            typed.push_str(&self.only.join(","));
        }
        typed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(more: &[&str]) -> Result<Run, clap::Error> {
        let typed = ["bench", "run", "target/release/postcall"].iter().chain(more);
        match Arguments::try_parse_from(typed)?.what {
            What::Run(run) => Ok(run),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_status_2() {
        for wrong in [
            &["--fast"][..],
            &["--only", "speed"],
            &["--store", "paper"],
            &["--publish", "--quick"],
            &["extra"],
        ] {
            assert_eq!(run(wrong).unwrap_err().exit_code(), 2, "{wrong:?}");
        }
    }

    #[test]
    fn measures_are_named_in_a_list() {
        let run = run(&["--quick", "--only", "latency,claims"]).unwrap();
        assert_eq!(run.only, ["latency", "claims"]);
        assert_eq!(run.typed(), "cargo xtask bench --quick --only latency,claims");
        let run = super::tests::run(&["--store", "postgres", "--publish"]).unwrap();
        assert_eq!(
            (run.store, run.typed()),
            (Store::Postgres, "cargo xtask bench --store postgres".to_owned())
        );
    }
}

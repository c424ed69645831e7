//! A cluster to try things with: prints its URL, and is gone when this process ends or its input does.

use std::io::Read;
use std::process::ExitCode;

fn main() -> ExitCode {
    match cluster::Cluster::start(cluster::FAST) {
        Ok(cluster) => {
            println!("{}", cluster.url("postgres"));
            let _ = std::io::stdin().read_to_end(&mut Vec::new());
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

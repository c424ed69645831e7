//! `cargo xtask bench`: how fast postcall is beside a bare relay, on this machine, in one run.
//! Every part is a process of its own on loopback: sink, relay, `postcall serve`, and this one, which drives them in turns.
//! Knows HTTP and clocks; refuses to know how postcall works inside.

mod bodies;
mod load;
mod parts;
mod relay;
mod report;
mod sink;
mod wire;

use std::time::Duration;

use load::Load;
use parts::{Part, Postcall};
use report::{Goal, Measure, Report};

/// What is run, and for how long.
struct Plan {
    rounds: usize,
    each: Duration,
    latency: Duration,
}

/// Requests under way at a time when throughput is measured.
const CONNECTIONS: usize = 128;
/// Events per second when latency is measured.
const STEADY: u32 = 1000;
/// Distinct calls, signed before the clock starts.
const SIGNED_AHEAD: usize = 400_000;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match args.as_slice() {
        ["sink"] => sink::run().await,
        ["relay", target] => relay::run(target).await,
        [binary, rest @ ..] => compare(binary, rest.contains(&"--quick")).await,
        [] => Err("usage: bench PATH-TO-POSTCALL [--quick]; or `cargo xtask bench`".to_owned()),
    };
    if let Err(why) = done {
        eprintln!("bench: {why}");
        std::process::exit(1);
    }
}

async fn compare(binary: &str, quick: bool) -> Result<(), String> {
    let plan = match quick {
        true => Plan { rounds: 1, each: Duration::from_secs(5), latency: Duration::from_secs(5) },
        false => Plan { rounds: 3, each: Duration::from_secs(15), latency: Duration::from_secs(20) },
    };
    let mut report = Report::default();
    for (size, name) in [(2 << 10, "2 KB"), (40 << 10, "40 KB")] {
        // Large bodies: fewer of them, so that signing ahead fits into memory.
        let ahead = if size > 4096 { SIGNED_AHEAD / 20 } else { SIGNED_AHEAD };
        let rounds = if size > 4096 { 1 } else { plan.rounds };
        let mut through_relay = Vec::new();
        let mut through_postcall = Vec::new();
        for round in 0..rounds {
            let bodies = bodies::signed(ahead, size, round);
            let sink = Part::start(&["sink"]).await?;
            let relay = Part::start(&["relay", &sink.url]).await?;
            let bare = Load::of(&relay.url, &bodies).flat_out(CONNECTIONS, plan.each).await?;
            through_relay.push(sink.delivered_per_second(&bare).await?);
            let sink = Part::start(&["sink"]).await?;
            let postcall = Postcall::start(binary, &sink.url).await?;
            let ours = Load::of(&postcall.door, &bodies).flat_out(CONNECTIONS, plan.each).await?;
            through_postcall.push(sink.delivered_per_second(&ours).await?);
            postcall.check_sums(ours.accepted).await?;
        }
        let (bare, ours) = (report::median(&mut through_relay), report::median(&mut through_postcall));
        report.add(Measure::rate(format!("bare relay, {name}"), bare));
        report.add(Measure::rate(format!("accepted and delivered, {name}"), ours));
        let goal = (size == 2 << 10).then_some(Goal::AtLeast(0.45));
        report.add(Measure::ratio(format!("over the bare relay's, {name}"), ours / bare, goal));
    }

    let bodies = bodies::signed(SIGNED_AHEAD / 10, 2 << 10, 99);
    let sink = Part::start(&["sink"]).await?;
    let postcall = Postcall::start(binary, &sink.url).await?;
    let steady = Load::of(&postcall.door, &bodies).steady(STEADY, plan.latency, &sink).await?;
    postcall.check_sums(steady.accepted).await?;
    let latency = sink.complete(&steady).await?;
    report.add(Measure::millis("door to endpoint at 1,000/s, p50", latency.p50, Some(Goal::Below(3.0))));
    report.add(Measure::millis("door to endpoint at 1,000/s, p99", latency.p99, Some(Goal::Below(15.0))));
    report.add(Measure::millis("door's answer at 1,000/s, p50", steady.p50, None));
    report.add(Measure::millis("door's answer at 1,000/s, p99", steady.p99, None));
    report.print();
    Ok(())
}

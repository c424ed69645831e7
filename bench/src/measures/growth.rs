//! What one event costs the store itself as its tables grow: groups of incoming events with the settlements of the
//! group before, in this process through the store's own trait, every commit on disk. Groups are made outside the
//! measured time. Between the windows the store is filled in the same way, only not measured. CPU is this process's, and
//! PostgreSQL's where it keeps the store.

use postcall::store::{Incoming, Settlement};

use super::measure::{Done, Measure};
use crate::bodies::{Bodies, ORDINARY};
use crate::clock::{cpu_used, now};
use crate::embedded::{Embedded, GROUP, delivered};
use crate::postcall::Data;
use crate::procfs;
use crate::report::{Goal, Report, Row, Unit, grouped, median};
use crate::stage::Stage;

/// The measure.
pub struct Growth;

/// The campaign of everything in the store.
const CAMPAIGN: &str = "growth";
/// Groups that are made ahead and then committed one after the other: long enough that what the background does
/// falls into the measured time, short enough for memory.
const AHEAD: usize = 64;
/// Events in a group while the store is filled: larger, so that filling takes fewer fsyncs.
const FILLING: usize = 512;
/// How much dearer an event may be in a large store than in an empty one.
const GOAL: Goal = Goal::AtMost(1.1);

impl Measure for Growth {
    fn name(&self) -> &'static str {
        "growth"
    }

    fn about(&self) -> &'static str {
        "the store's cost of one event at 0, 1 and 5 million events"
    }

    fn run<'a>(&'a self, stage: &'a mut Stage, report: &'a mut Report) -> Done<'a> {
        Box::pin(async {
            let data = stage.data()?;
            let (window, sizes) =
                stage.pick((20_000, &[0, 50_000][..]), (200_000, &[0, 1_000_000, 5_000_000][..]));
            // Filling takes so much longer there that a run would take an hour.
            let sizes = stage.by_store(sizes, &sizes[..2]);
            let mut growing = Growing::new(&data).await?;
            let mut first: Option<(f64, f64)> = None;
            for &size in sizes {
                growing.fill(stage, size).await?;
                let (wall, cpu) = growing.window(window).await?;
                #[expect(clippy::cast_precision_loss, reason = "events of one run")]
                let size = grouped(size as f64);
                report.add(Row::of(format!("store's time for one event at {size}"), Unit::Micros, &wall));
                report.add(Row::of(format!("store's CPU for one event at {size}"), Unit::Micros, &cpu));
                let (Some(wall), Some(cpu)) = (median(&wall), median(&cpu)) else { continue };
                match first {
                    None => first = Some((wall, cpu)),
                    Some((empty_wall, empty_cpu)) => {
                        let ratio = |name: String, value| Row::of(name, Unit::Ratio, &[value]).goal(GOAL);
                        report.add(ratio(format!("time at {size} over at 0"), wall / empty_wall));
                        report.add(ratio(format!("CPU at {size} over at 0"), cpu / empty_cpu));
                    }
                }
            }
            growing.store.close().await
        })
    }
}

/// A store that grows.
struct Growing<'a> {
    data: &'a Data,
    store: Embedded,
    bodies: std::rc::Rc<Bodies>,
    settlements: Vec<Settlement>,
    events: usize,
}

impl<'a> Growing<'a> {
    async fn new(data: &'a Data) -> Result<Self, String> {
        let store = Embedded::open(data, CAMPAIGN).await?;
        let bodies = Bodies::new(ORDINARY, CAMPAIGN);
        Ok(Self { data, store, bodies, settlements: Vec::new(), events: 0 })
    }

    /// Commits groups up to a number of events. The next groups are made while one commits.
    async fn fill(&mut self, stage: &Stage, size: usize) -> Result<(), String> {
        if self.events < size {
            stage.note(&format!("filling the store up to {size} events"));
        }
        let mut next = Vec::new();
        while self.events < size {
            let group = std::mem::take(&mut next);
            let (store, bodies) = (&self.store, &self.bodies);
            self.events += group.len();
            let commit = store.commit(group, std::mem::take(&mut self.settlements), true);
            let (committed, made) = tokio::join!(commit, async { store.incoming(bodies, FILLING) });
            self.settlements = committed?.owned.iter().map(delivered).collect();
            next = made?;
        }
        Ok(())
    }

    /// Commits so many events; gives wall time and CPU of one, in microseconds, for each stretch of groups.
    async fn window(&mut self, events: usize) -> Result<(Vec<f64>, Vec<f64>), String> {
        let (mut wall, mut cpu) = (Vec::new(), Vec::new());
        let end = self.events + events;
        while self.events < end {
            let groups: Vec<Vec<Incoming>> =
                (0..AHEAD).map(|_| self.store.incoming(&self.bodies, GROUP)).collect::<Result<_, _>>()?;
            let servers = self.data.servers();
            let spent = || cpu_used() + procfs::cpu_used(&servers);
            let (start, used) = (now(), spent());
            for group in groups {
                self.commit(group).await?;
            }
            #[expect(clippy::cast_precision_loss, reason = "microseconds of one run")]
            let each = |micros: u64| micros as f64 / (AHEAD * GROUP) as f64;
            wall.push(each(now() - start));
            cpu.push(each(spent() - used));
        }
        Ok((wall, cpu))
    }

    async fn commit(&mut self, group: Vec<Incoming>) -> Result<(), String> {
        self.events += group.len();
        let committed = self.store.commit(group, std::mem::take(&mut self.settlements), true).await?;
        if committed.owned.len() != GROUP {
            return Err(format!("a group of {GROUP} planned {} deliveries", committed.owned.len()));
        }
        self.settlements = committed.owned.iter().map(delivered).collect();
        Ok(())
    }
}

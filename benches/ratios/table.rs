//! The table: how do figures and their floors become rows?

use std::fmt;
use std::time::Duration;

/// What a figure is worth when the machine fails.
pub(crate) const FULL: &str = "SQLite FULL: power loss";
/// Nothing is written.
pub(crate) const NONE: &str = "none, in memory";

/// Nothing is faster than its own floor: a neighbour has slowed the floor down, and the share says nothing.
const FLOOR_DISTURBED: &str = "unknown: floor disturbed";

/// What is asked of a row.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Target {
    /// At least this share of the floor.
    Share(f64),
    /// At least so many a second.
    Rate(f64),
    /// At most this time.
    Within(Duration),
    /// Shown for what it tells about other rows.
    Info,
}

/// Ours and the floor, taken in turn.
#[derive(Debug, Default)]
pub(crate) struct Pairs(Vec<(f64, f64)>);

impl Pairs {
    pub(crate) fn add(&mut self, ours: f64, floor: f64) {
        self.0.push((ours, floor));
    }

    pub(crate) fn ours(&self) -> f64 {
        median(self.0.iter().map(|(ours, _)| *ours))
    }

    pub(crate) fn floor(&self) -> f64 {
        median(self.0.iter().map(|(_, floor)| *floor))
    }

    /// Median of the ratios of each turn, not the ratio of the medians: a neighbour that came in between disturbs one turn only.
    fn ratio(&self) -> f64 {
        median(self.0.iter().map(|(ours, floor)| ours / floor))
    }
}

#[derive(Debug, Default)]
pub(crate) struct Table(Vec<[String; 7]>);

impl Table {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Rates, both in things a second.
    pub(crate) fn rates(&mut self, path: &str, durability: &str, pairs: &Pairs, target: Target) {
        let (rate, share) = (pairs.ours(), pairs.ratio());
        let (wanted, met) = match target {
            Target::Share(least) => (percent(least), Some(share >= least)),
            Target::Rate(least) => (per_second(least), Some(rate >= least)),
            Target::Within(_) | Target::Info => (String::new(), None),
        };
        self.add([
            path,
            durability,
            &per_second(rate),
            &per_second(pairs.floor()),
            &percent(share),
            &wanted,
            if matches!(target, Target::Share(_)) && share > 1.0 { FLOOR_DISTURBED } else { verdict(met) },
        ]);
    }

    /// Times in seconds; the share is that of the floor in ours.
    pub(crate) fn times(&mut self, path: &str, durability: &str, pairs: &Pairs, target: Target) {
        let time = pairs.ours();
        let (wanted, met) = match target {
            Target::Within(most) => (format!("< {}", seconds(most.as_secs_f64())), Some(time < most.as_secs_f64())),
            Target::Share(_) | Target::Rate(_) | Target::Info => (String::new(), None),
        };
        self.add([
            path,
            durability,
            &seconds(time),
            &seconds(pairs.floor()),
            &percent(1.0 / pairs.ratio()),
            &wanted,
            verdict(met),
        ]);
    }

    /// A row that is no ratio.
    pub(crate) fn plain(&mut self, path: &str, durability: &str, measured: &str, target: &str, met: Option<bool>) {
        self.add([path, durability, measured, "", "", target, verdict(met)]);
    }

    fn add(&mut self, row: [&str; 7]) {
        eprintln!("   {}", row.join(" | "));
        self.0.push(row.map(str::to_owned));
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| path | durability | measured | floor in the same run | ratio | target | met? |")?;
        writeln!(f, "|---|---|---|---|---|---|---|")?;
        self.0.iter().try_for_each(|row| writeln!(f, "| {} |", row.join(" | ")))
    }
}

fn verdict(met: Option<bool>) -> &'static str {
    match met {
        Some(true) => "yes",
        Some(false) => "NO",
        None => "",
    }
}

fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

fn per_second(rate: f64) -> String {
    if rate >= 1e6 { format!("{:.2} M/s", rate / 1e6) } else { format!("{rate:.0} /s") }
}

pub(crate) fn seconds(time: f64) -> String {
    let size = time.abs();
    if size >= 1.0 {
        format!("{time:.2} s")
    } else if size >= 1e-3 {
        format!("{:.2} ms", time * 1e3)
    } else if size >= 1e-6 {
        format!("{:.1} us", time * 1e6)
    } else {
        format!("{:.0} ns", time * 1e9)
    }
}

pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    percentile(values, 50)
}

/// The value below which `percent` of the values lie.
pub(crate) fn percentile(values: impl IntoIterator<Item = f64>, percent: usize) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let place = values.len() * percent / 100;
    values[place.min(values.len() - 1)]
}

/// What else this machine does: the load of the last minute, and on how many processors.
pub(crate) fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = text.split(' ').next().unwrap_or("unknown").to_owned();
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    format!("{load} on {processors} processors")
}

/// Processor time of this process so far, of all its threads: what a busy neighbour does not change.
pub(crate) fn cpu_seconds() -> f64 {
    const TICKS_A_SECOND: f64 = 100.0;
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = text.rsplit(") ").next().unwrap_or_default().split(' ');
    let ticks = fields.skip(11).take(2).map(|field| field.parse().unwrap_or(0.0));
    ticks.sum::<f64>() / TICKS_A_SECOND
}

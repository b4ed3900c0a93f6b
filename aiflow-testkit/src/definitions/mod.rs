//! Random definitions: conditions, rules, graphs and workflows that say something of everything that can be said.
//!
//! They are well formed as data and not more: most do not pass the checks of a workflow. For proofs that what is written is read back.

mod whole;

use std::time::Duration;

use aiflow_core::event::Match;
use aiflow_core::execution::{JobStatus, WorkflowStatus};
use aiflow_core::id::{JobName, Offset, RuleName, WorkflowName};
use aiflow_core::workflow::{
    Comparison, Condition, EventPattern, Field, JobAction, KeyOf, Life, ModelStage, ParamSource, SchedulingRule,
    StartPosition, ValueTest, Wait, Window, WorkflowAction, WorkflowRule, custom, not_within, on, on_alias, on_dataset,
    on_metric, on_model_version, workflow_status,
};
use serde_json::{Map, Value};

use crate::rng::Rng;

/// Texts that are awkward in some language, and such that are not.
const TEXTS: [&str; 44] = [
    "a",
    "samples",
    "model.*",
    "",
    "*",
    "**",
    "a*",
    "all",
    "no",
    "of",
    "times",
    "3",
    "0x1F",
    "1e3",
    ".5",
    "true",
    "null",
    "~",
    "SUCCEEDED",
    "READY",
    "a b",
    " a ",
    "a\"b'c",
    "it's",
    "a\\b",
    "a::b",
    "a:b",
    "a: b",
    "a #b",
    "#a",
    "- a",
    "?",
    "s3://b/k",
    "/x/y",
    "/~1 z",
    "ä€𝄞",
    "a\nb\n",
    "\ttab",
    "\u{0}\u{7f}\u{85}\u{feff}",
    "{a}",
    "[a]",
    "${{ env.HOME }}",
    "$${{ x }}",
    "---",
];
const NAMES: [&str; 12] =
    ["train", "a", "all", "no", "3", "SUCCEEDED", "is", "model", "x.y-z_0", "when", "true", "1e3"];

/// Makes random definitions; the same seed makes the same ones.
#[derive(Debug, Clone)]
pub struct Definitions(Rng);

impl Definitions {
    /// The definitions of `seed`.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(Rng::new(seed))
    }

    /// Access to the generator, for choices beside.
    pub fn rng(&mut self) -> &mut Rng {
        &mut self.0
    }

    fn index(&mut self, n: usize) -> usize {
        usize::try_from(self.0.below(n as u64)).unwrap_or_default()
    }

    /// One of these.
    pub fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.index(of.len())].clone()
    }

    /// A text, often an awkward one.
    pub fn text(&mut self) -> String {
        let text = self.pick(&TEXTS).to_owned();
        if self.0.chance(10) { format!("{text}{}", self.pick(&TEXTS)) } else { text }
    }

    /// A well-formed name.
    pub fn name(&mut self) -> String {
        let name = self.pick(&NAMES).to_owned();
        if self.0.chance(30) { format!("{name}{}", self.0.below(5)) } else { name }
    }

    fn maybe<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        if self.0.chance(40) { Some(make(self)) } else { None }
    }

    /// Up to `n_max` of them.
    pub fn several<T>(&mut self, n_max: usize, mut make: impl FnMut(&mut Self) -> T) -> Vec<T> {
        let n = self.index(n_max + 1);
        (0..n).map(|_| make(self)).collect()
    }

    /// A span of whole milliseconds.
    pub fn duration(&mut self) -> Duration {
        let unit = self.pick(&[1, 1_000, 60_000, 3_600_000, 86_400_000]);
        Duration::from_millis(self.0.below(100) * unit)
    }

    /// Any JSON.
    pub fn json(&mut self, depth: usize) -> Value {
        match self.0.below(if depth == 0 { 6 } else { 8 }) {
            0 => Value::Null,
            1 => self.0.chance(50).into(),
            2 => self.pick(&[0_i64, 1, -1, i64::MIN, i64::MAX]).into(),
            3 => Value::from(u64::MAX - self.0.below(3)),
            4 => Value::from(self.pick(&[0.5, 1.0, -0.1, 1e300, 1e-300, 0.1 + 0.2])),
            5 => self.text().into(),
            6 => self.several(3, |d| d.json(depth - 1)).into(),
            _ => self.object(depth - 1),
        }
    }

    /// A JSON object.
    pub fn object(&mut self, depth: usize) -> Value {
        let members: Map<String, Value> = self.several(3, |d| (d.text(), d.json(depth))).into_iter().collect();
        Value::Object(members)
    }

    fn matcher(&mut self) -> Match {
        match self.0.below(6) {
            0 => Match::Any,
            1 => Match::Prefix(self.text()),
            _ => Match::Exact(self.text()),
        }
    }

    fn job(&mut self) -> JobName {
        JobName::parse(self.name()).expect("the names are well formed")
    }

    fn statuses(&mut self) -> Vec<JobStatus> {
        let mut statuses = vec![self.pick(JobStatus::ALL)];
        statuses.extend(self.several(2, |d| d.pick(JobStatus::ALL)));
        statuses
    }

    fn life(&mut self) -> Life {
        self.pick(&[Life::Once, Life::Once, Life::Latest, Life::Repeated])
    }

    fn test(&mut self, depth: usize) -> ValueTest {
        let comparisons = [
            Comparison::Less,
            Comparison::LessOrEqual,
            Comparison::Greater,
            Comparison::GreaterOrEqual,
            Comparison::NotEqual,
        ];
        match self.0.below(if depth == 0 { 5 } else { 6 }) {
            0 => ValueTest::Updated,
            1 => ValueTest::Equals(self.json(2)),
            2 => ValueTest::Compare(self.pick(&comparisons), self.json(1)),
            3 => ValueTest::In(self.several(3, |d| d.json(1))),
            4 => ValueTest::Cel(self.text()),
            _ => ValueTest::At { pointer: self.text(), test: Box::new(self.test(depth - 1)) },
        }
    }

    fn comparison(&mut self) -> Comparison {
        self.pick(&[Comparison::Less, Comparison::GreaterOrEqual, Comparison::NotEqual])
    }

    /// A pattern of events.
    pub fn pattern(&mut self) -> EventPattern {
        let name = self.name();
        let mut pattern = match self.0.below(8) {
            0 => on_model_version(name, self.pick(&[ModelStage::Generated, ModelStage::Deleted])),
            1 => on_model_version(name, ModelStage::parse(self.name()).expect("the names are well formed")),
            2 => on_alias(self.text(), self.text()),
            3 => on_dataset(self.text()),
            4 => {
                let number = self.pick(&[0.0, 0.25, -3.0, 1e-9]);
                on_metric(self.text(), self.comparison(), number)
            }
            5 => {
                let status = self.pick(WorkflowStatus::ALL);
                workflow_status(&WorkflowName::parse(name).expect("the names are well formed"), status)
            }
            _ => {
                let mut pattern = on(self.matcher());
                pattern.namespace = self.maybe(Self::matcher);
                pattern.event_type = self.maybe(Self::matcher).unwrap_or_default();
                pattern.value = self.maybe(|d| d.test(2)).unwrap_or_default();
                pattern.any_execution = self.0.chance(20);
                pattern
            }
        };
        pattern.sender = self.maybe(Self::matcher).unwrap_or_default();
        pattern.life = self.life();
        if self.0.chance(15) {
            pattern.any_execution = !pattern.any_execution;
        }
        if self.0.chance(15) {
            pattern.value = self.test(2);
        }
        pattern
    }

    fn window(&mut self) -> Window {
        match self.0.below(3) {
            0 => Window::Sliding { length: self.duration() },
            1 => Window::Tumbling { length: self.duration() },
            _ => Window::Daily {
                time_zone: self.pick(&["UTC", "Europe/Berlin", "no such", "Etc/GMT+3"]).to_owned(),
                begins_minutes: self.pick(&[0, 1, 375, 1439, 1440, u16::MAX]),
            },
        }
    }

    fn place(&mut self, depth: usize) -> KeyOf {
        match self.0.below(if depth == 0 { 3 } else { 4 }) {
            0 => KeyOf::Key,
            1 => KeyOf::Value(self.text()),
            2 => KeyOf::Label(self.text()),
            _ => KeyOf::FirstOf(self.several(3, |d| d.place(depth - 1))),
        }
    }

    fn wait(&mut self) -> Wait {
        if self.0.chance(50) {
            return Wait::For(self.duration());
        }
        Wait::Until { time_zone: self.text(), minutes: self.pick(&[0, 60, 1080, u16::MAX]) }
    }

    /// A condition of any kind, nested at most `depth` deep.
    pub fn condition(&mut self, depth: usize) -> Condition {
        let below = depth.saturating_sub(1);
        let several = |d: &mut Self| d.several(3, |d| d.condition(below));
        match self.0.below(if depth == 0 { 6 } else { 15 }) {
            0..=2 => self.pattern().into(),
            3 => Condition::JobStatus { job: self.job(), statuses: self.statuses(), life: self.life() },
            4 => Condition::JobIs { job: self.job(), statuses: self.statuses() },
            5 => {
                let (params, patterns) = (self.json(1), self.several(3, Self::pattern));
                custom(self.text(), params, patterns)
            }
            6 => Condition::All(several(self)),
            7 => Condition::Any(several(self)),
            8 => Condition::Sequence(several(self)),
            9 => Condition::AtLeast { n: self.index(9), of: several(self) },
            10 => Condition::Count { n: self.index(2_000), of: Box::new(self.condition(below)) },
            11 => Condition::Within { window: self.window(), of: Box::new(self.condition(below)) },
            12 => Condition::ForEach { key: self.place(2), of: Box::new(self.condition(below)) },
            13 => match self.0.chance(30) {
                true => not_within(self.pattern(), self.duration()),
                false => Condition::Absent {
                    of: Box::new(self.condition(below)),
                    wait: self.duration(),
                    after: self.maybe(|d| Box::new(d.condition(below))),
                },
            },
            _ => Condition::Optional { of: Box::new(self.condition(below)), wait: self.wait() },
        }
    }

    pub(super) fn source(&mut self) -> ParamSource {
        let field = match self.0.below(8) {
            0 => Field::Key,
            1 => Field::EventType,
            2 => Field::Sender,
            3 => Field::Namespace,
            4 => Field::Label(self.text()),
            5 => Field::Time,
            6 => Field::Offset,
            _ => Field::Value(self.text()),
        };
        ParamSource { field, of: self.maybe(Self::matcher) }
    }

    fn position(&mut self) -> StartPosition {
        match self.0.below(5) {
            0 => StartPosition::LatestPerKey,
            1 => StartPosition::Offset(Offset(self.0.next_u64() >> 1)),
            _ => StartPosition::Now,
        }
    }

    /// A rule on a job.
    pub fn job_rule(&mut self) -> SchedulingRule {
        let actions = [JobAction::Start, JobAction::Stop, JobAction::Restart, JobAction::Signal, JobAction::None];
        let mut rule = SchedulingRule::new(self.condition(3), self.pick(&actions));
        rule.params = self.several(2, |d| (d.text(), d.source())).into_iter().collect();
        rule.from = self.position();
        match self.maybe(Self::name) {
            Some(name) => rule.named(RuleName::parse(name).expect("the names are well formed")),
            None => rule,
        }
    }

    /// A rule on a workflow.
    pub fn workflow_rule(&mut self) -> WorkflowRule {
        let actions = [WorkflowAction::Start, WorkflowAction::Stop, WorkflowAction::Restart];
        let mut rule = WorkflowRule::new(self.condition(3), self.pick(&actions));
        rule.of_param = self.maybe(Self::text);
        rule.params = self.several(2, |d| (d.text(), d.source())).into_iter().collect();
        rule.from = self.position();
        match self.maybe(Self::name) {
            Some(name) => rule.named(RuleName::parse(name).expect("the names are well formed")),
            None => rule,
        }
    }
}

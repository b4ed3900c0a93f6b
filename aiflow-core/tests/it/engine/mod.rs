//! Tests of the engine: a few lines of rules and events in, what it decides out.

mod admission;
mod alerts;
mod checks;
mod conditions;
mod determinism;
mod invariants;
mod lifecycle;
mod limits;
mod model;
mod naive;
mod operators;
mod params;
mod pauses;
mod pools;
mod schedules;
mod sizes;
mod soak;
mod streams;
mod table;
mod text;
mod traps;
mod upgrades;
mod what_if;
mod why;
mod world;

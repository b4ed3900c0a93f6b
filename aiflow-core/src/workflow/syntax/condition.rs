//! Reads conditions.

use serde_json::Value;

use super::SyntaxError;
use super::pattern::{life, pattern};
use super::scan::Scan;
use crate::event::Match;
use crate::id::JobName;
use crate::workflow::{Condition, EventPattern, KeyOf, Wait, Window};

/// The lowest level: what `for each` concerns.
pub(super) fn condition(scan: &mut Scan<'_>) -> Result<Condition, SyntaxError> {
    scan.down()?;
    let mut condition = either(scan)?;
    let mut deeper = 1_usize;
    while scan.take(&["for", "each"]) {
        scan.down()?;
        deeper = deeper.saturating_add(1);
        condition = condition.for_each(place(scan)?);
    }
    scan.up(deeper);
    Ok(condition)
}

fn either(scan: &mut Scan<'_>) -> Result<Condition, SyntaxError> {
    let mut of = vec![both(scan)?];
    while scan.take(&["or"]) {
        of.push(both(scan)?);
    }
    Ok(one_or(of, Condition::Any))
}

fn both(scan: &mut Scan<'_>) -> Result<Condition, SyntaxError> {
    let mut of = vec![part(scan)?];
    while scan.take(&["and"]) {
        of.push(part(scan)?);
    }
    Ok(one_or(of, Condition::All))
}

fn one_or(mut of: Vec<Condition>, several: fn(Vec<Condition>) -> Condition) -> Condition {
    match of.pop() {
        Some(only) if of.is_empty() => only,
        Some(last) => {
            of.push(last);
            several(of)
        }
        None => several(of),
    }
}

fn part(scan: &mut Scan<'_>) -> Result<Condition, SyntaxError> {
    let mut condition = counted(scan)?;
    let mut deeper = 0_usize;
    loop {
        if scan.take(&["within"]) {
            condition = condition.within(window(scan)?);
        } else if scan.take(&["if", "it", "comes"]) {
            let wait = wait(scan)?;
            condition = Condition::Optional { of: Box::new(condition), wait };
        } else {
            scan.up(deeper);
            return Ok(condition);
        }
        scan.down()?;
        deeper = deeper.saturating_add(1);
    }
}

fn counted(scan: &mut Scan<'_>) -> Result<Condition, SyntaxError> {
    if scan.take(&["no"]) {
        return missing(scan);
    }
    let start = scan.place();
    let word = scan.peek_word();
    if !word.is_empty() && word.bytes().all(|b| b.is_ascii_digit()) {
        scan.skip_word();
        let is_count = scan.take(&["times"]);
        scan.back_to(start);
        if is_count {
            let n = scan.number("a number")?;
            scan.words(&["times"])?;
            return Ok(Condition::Count { n, of: Box::new(operand(scan)?) });
        }
    }
    operand(scan)
}

/// What follows `no`.
fn missing(scan: &mut Scan<'_>) -> Result<Condition, SyntaxError> {
    let start = scan.place();
    let of = operand(scan)?;
    if scan.take(&["in", "the", "last"]) {
        let within = scan.span()?;
        return match of {
            Condition::On(pattern) => Ok(Condition::NotWithin { pattern, within }),
            _ => Err(scan
                .wrong_at(start, "only one event can be missing in the last while; say \"no … for …\" of a condition")),
        };
    }
    if !scan.take(&["for"]) {
        return Err(scan.expected("for, or in the last"));
    }
    let wait = scan.span()?;
    let after = if scan.take(&["after"]) { Some(Box::new(operand(scan)?)) } else { None };
    Ok(Condition::Absent { of: Box::new(of), wait, after })
}

fn operand(scan: &mut Scan<'_>) -> Result<Condition, SyntaxError> {
    if scan.take_sign("(") {
        let condition = condition(scan)?;
        scan.sign(")")?;
        return Ok(condition);
    }
    if scan.take(&["all", "of"]) {
        return Ok(Condition::All(list(scan, condition)?));
    }
    if scan.take(&["any", "of"]) {
        return Ok(Condition::Any(list(scan, condition)?));
    }
    if scan.take(&["in", "this", "order"]) {
        return Ok(Condition::Sequence(list(scan, condition)?));
    }
    if scan.take(&["at", "least"]) {
        let n = scan.number("a number")?;
        scan.words(&["of"])?;
        return Ok(Condition::AtLeast { n, of: list(scan, condition)? });
    }
    if scan.take_call("custom") {
        return custom(scan);
    }
    if let Some(condition) = status(scan)? {
        return Ok(condition);
    }
    pattern(scan).map(Condition::On)
}

fn list<T>(scan: &mut Scan<'_>, item: fn(&mut Scan<'_>) -> Result<T, SyntaxError>) -> Result<Vec<T>, SyntaxError> {
    scan.sign("(")?;
    let mut items = Vec::new();
    if scan.take_sign(")") {
        return Ok(items);
    }
    scan.down()?;
    loop {
        items.push(item(scan)?);
        if scan.take_sign(")") {
            scan.up(1);
            return Ok(items);
        }
        if !scan.take_sign(",") {
            return Err(scan.expected("a comma or \")\""));
        }
    }
}

fn custom(scan: &mut Scan<'_>) -> Result<Condition, SyntaxError> {
    let name = scan.text("the name of custom code")?;
    let params = if scan.take_sign(",") { scan.json()? } else { Value::Null };
    scan.sign(")")?;
    scan.words(&["of"])?;
    let on: Vec<EventPattern> = list(scan, pattern)?;
    Ok(Condition::Custom { name, params, on })
}

/// The status of a job, if that is what comes next.
fn status(scan: &mut Scan<'_>) -> Result<Option<Condition>, SyntaxError> {
    let start = scan.place();
    let is_matcher = scan.is_text();
    if !is_matcher {
        return Ok(None);
    }
    let Match::Exact(job) = scan.matcher("a job")? else {
        scan.back_to(start);
        return Ok(None);
    };
    let job_name = |scan: &Scan<'_>| JobName::parse(&job).map_err(|error| scan.wrong_at(start, error.message()));
    if scan.take(&["is"]) {
        let statuses = scan.take_statuses()?.ok_or_else(|| scan.expected("a status of a job such as SUCCEEDED"))?;
        return Ok(Some(Condition::JobIs { job: job_name(scan)?, statuses }));
    }
    match scan.take_statuses()? {
        Some(statuses) => Ok(Some(Condition::JobStatus { job: job_name(scan)?, statuses, life: life(scan)? })),
        None => {
            scan.back_to(start);
            Ok(None)
        }
    }
}

fn window(scan: &mut Scan<'_>) -> Result<Window, SyntaxError> {
    if scan.take(&["one", "span", "of"]) {
        return Ok(Window::Tumbling { length: scan.span()? });
    }
    if !scan.take(&["one", "day"]) {
        return Ok(Window::Sliding { length: scan.span()? });
    }
    let begins_minutes = if scan.take(&["from"]) { scan.time_of_day()? } else { 0 };
    scan.words(&["in"])?;
    Ok(Window::Daily { time_zone: scan.text("a time zone")?, begins_minutes })
}

fn wait(scan: &mut Scan<'_>) -> Result<Wait, SyntaxError> {
    if scan.take(&["within"]) {
        return Ok(Wait::For(scan.span()?));
    }
    if !scan.take(&["by"]) {
        return Err(scan.expected("within or by"));
    }
    let minutes = scan.time_of_day()?;
    Ok(Wait::Until { time_zone: scan.text("a time zone")?, minutes })
}

/// Where the key of an event is found.
fn place(scan: &mut Scan<'_>) -> Result<KeyOf, SyntaxError> {
    if scan.take(&["first", "of"]) {
        return Ok(KeyOf::FirstOf(list(scan, place)?));
    }
    if scan.take(&["key"]) {
        return Ok(KeyOf::Key);
    }
    if scan.take(&["label"]) {
        return Ok(KeyOf::Label(scan.text("the name of a label")?));
    }
    match pointer(scan)? {
        Some(pointer) => Ok(KeyOf::Value(pointer)),
        None => Err(scan.expected("key, a JSON pointer such as /order/id, value, label or first of")),
    }
}

/// `/a/b`, `value "a pointer of any form"`, or `value` for the whole.
pub(super) fn pointer(scan: &mut Scan<'_>) -> Result<Option<String>, SyntaxError> {
    if scan.peek_word().starts_with('/') {
        return scan.text("a JSON pointer").map(Some);
    }
    if !scan.take(&["value"]) {
        return Ok(None);
    }
    if scan.is_sign("\"") || scan.is_sign("'") {
        return scan.text("a JSON pointer").map(Some);
    }
    Ok(Some(String::new()))
}

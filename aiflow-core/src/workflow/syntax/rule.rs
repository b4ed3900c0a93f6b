//! Reads rules.

use super::SyntaxError;
use super::condition::{condition, pointer};
use super::scan::Scan;
use crate::id::{Offset, RuleName};
use crate::workflow::{Field, JobAction, ParamSource, SchedulingRule, StartPosition, WorkflowAction, WorkflowRule};

pub(super) fn of_job(scan: &mut Scan<'_>) -> Result<SchedulingRule, SyntaxError> {
    let word = scan.peek_word();
    let actions = [JobAction::Start, JobAction::Stop, JobAction::Restart, JobAction::Signal, JobAction::None];
    let action = actions.into_iter().find(|action| action.as_str().eq_ignore_ascii_case(word));
    let action = action.ok_or_else(|| scan.expected("START, STOP, RESTART, SIGNAL or NONE"))?;
    scan.skip_word();
    scan.words(&["when"])?;
    let mut rule = SchedulingRule::new(condition(scan)?, action);
    for clause in clauses(scan)? {
        rule = match clause {
            Clause::Taking(name, source) => rule.param(name, source),
            Clause::Named(name) => rule.named(name),
            Clause::From(from) => SchedulingRule { from, ..rule },
        };
    }
    Ok(rule)
}

pub(super) fn of_workflow(scan: &mut Scan<'_>) -> Result<WorkflowRule, SyntaxError> {
    let word = scan.peek_word();
    let actions = [WorkflowAction::Start, WorkflowAction::Stop, WorkflowAction::Restart];
    let action = actions.into_iter().find(|action| action.as_str().eq_ignore_ascii_case(word));
    let action = action.ok_or_else(|| scan.expected("START, STOP or RESTART"))?;
    scan.skip_word();
    let of_param = if scan.take(&["of", "the", "same"]) { Some(scan.text("a parameter")?) } else { None };
    scan.words(&["when"])?;
    let mut rule = WorkflowRule { of_param, ..WorkflowRule::new(condition(scan)?, action) };
    for clause in clauses(scan)? {
        rule = match clause {
            Clause::Taking(name, source) => rule.param(name, source),
            Clause::Named(name) => rule.named(name),
            Clause::From(from) => WorkflowRule { from, ..rule },
        };
    }
    Ok(rule)
}

enum Clause {
    Taking(String, ParamSource),
    Named(RuleName),
    From(StartPosition),
}

fn clauses(scan: &mut Scan<'_>) -> Result<Vec<Clause>, SyntaxError> {
    let mut clauses = Vec::new();
    while scan.take_sign(",") {
        let place = scan.place();
        let clause = clause(scan)?;
        let is_again = match &clause {
            Clause::Taking(name, _) => {
                clauses.iter().any(|clause| matches!(clause, Clause::Taking(other, _) if other == name))
            }
            Clause::Named(_) => clauses.iter().any(|clause| matches!(clause, Clause::Named(_))),
            Clause::From(_) => clauses.iter().any(|clause| matches!(clause, Clause::From(_))),
        };
        if is_again {
            return Err(scan.wrong_at(place, "this was said before"));
        }
        clauses.push(clause);
    }
    scan.end("and, or, within, if it comes, for each, a comma, or the end")?;
    Ok(clauses)
}

fn clause(scan: &mut Scan<'_>) -> Result<Clause, SyntaxError> {
    if scan.take(&["taking"]) {
        let name = scan.text("the name of a parameter")?;
        scan.words(&["from"])?;
        return Ok(Clause::Taking(name, source(scan)?));
    }
    if scan.take(&["named"]) {
        return Ok(Clause::Named(scan.parsed("the name of the rule")?));
    }
    if scan.take(&["from", "event"]) {
        let offset = scan.number("the offset of an event")?;
        scan.words(&["on"])?;
        return Ok(Clause::From(StartPosition::Offset(Offset(offset))));
    }
    if scan.take(&["from", "the", "latest", "of", "each", "key", "on"]) {
        return Ok(Clause::From(StartPosition::LatestPerKey));
    }
    Err(scan.expected("taking, named, from event … on, or from the latest of each key on"))
}

pub(super) fn source(scan: &mut Scan<'_>) -> Result<ParamSource, SyntaxError> {
    let field = field(scan)?;
    let of = if scan.take(&["of"]) { Some(scan.matcher("the key of an event")?) } else { None };
    Ok(ParamSource { field, of })
}

pub(super) fn field(scan: &mut Scan<'_>) -> Result<Field, SyntaxError> {
    let plain = [
        ("key", Field::Key),
        ("type", Field::EventType),
        ("sender", Field::Sender),
        ("namespace", Field::Namespace),
        ("time", Field::Time),
        ("offset", Field::Offset),
    ];
    let word = scan.peek_word();
    Ok(if let Some((_, field)) = plain.into_iter().find(|(known, _)| *known == word) {
        scan.skip_word();
        field
    } else if scan.take(&["label"]) {
        Field::Label(scan.text("the name of a label")?)
    } else {
        let pointer = pointer(scan)?;
        Field::Value(pointer.ok_or_else(|| {
            scan.expected("a JSON pointer such as /uri, value, key, type, sender, namespace, label, time or offset")
        })?)
    })
}

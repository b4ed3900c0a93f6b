//! Searches: which statement says what a filter says, and where does the next page begin?
//!
//! A filter is written out as one condition. Every part is 0 or 1 and never NULL, so that `not` means the opposite. Texts of a search are
//! values of the statement, never part of it.

use aiflow_core::search::{
    Field, Filter, KIND_ANNOTATION, KIND_METRIC_SUMMARY, Literal, Near, Op, OrderKey, Search, Sorted, place_of,
    token_of,
};
use aiflow_core::store::{PageToken, Record};
use aiflow_core::{Error, ErrorKind, Result};
use serde_json::Number;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, TypeInfo as _, ValueRef as _};

use crate::error::{Fault, Phase};
use crate::query::Statement;
use crate::sql::{Args, RECORD_COLUMNS};

/// How many columns stand before those of the order.
const COLUMNS: usize = 12;
/// From how many values on that fit, a search in the order of age looks at the value of each record until its page is full, rather than make a
/// list of all records that have such a value.
const LISTED_MAX: i64 = 1_000;

/// One page of a search. `limit` rows and one more, which tells whether there is another page.
///
/// # Errors
/// `Invalid`: the token is not one of this search. `Unsupported`: the filter says something that this store does not know.
pub(crate) fn page(search: &Search) -> Result<Statement> {
    let after = search.after.as_ref().map(|token| place_of(token, search)).transpose()?;
    let leading = Leading::of(search);
    let mut text = Text { stops_early: is_by_age(search), ..Text::default() };
    let keys: Vec<String> = (0..search.order.len()).map(|n| format!("k{n}")).collect();
    let columns: String = keys.iter().map(|key| format!(",p.{key}")).collect();
    let of_row: String = keys.iter().map(|key| format!(",{key}")).collect();
    text.push(&format!(
        "SELECT {RECORD_COLUMNS}{columns} FROM (SELECT seq,created,id{of_row} FROM (SELECT r0.seq,r0.created,r0.id"
    ));
    let row = Row { depth: 0, kind: &search.kind };
    for (i, (key, name)) in search.order.iter().zip(&keys).enumerate() {
        text.push(",");
        match leading {
            Some(_) if i == 0 => text.push("m0.number"),
            _ => text.sorted(row, &key.field),
        }
        text.push(&format!(" AS {name}"));
    }
    match &leading {
        Some(leading) => text.leading(search, leading, after.as_ref()),
        None => text.push(" FROM record r0 WHERE "),
    }
    text.push("r0.kind=");
    text.str(&search.kind);
    if let Some(project) = &search.project {
        text.push(" AND r0.project=");
        text.str(project);
    }
    let tests = leading.as_ref().map_or_else(|| search.filter.iter().collect(), |leading| leading.rest.clone());
    for test in tests {
        text.push(" AND ");
        text.filter(row, test);
    }
    text.push(")");
    if let Some(after) = &after {
        text.push(" WHERE ");
        // The keys after which nothing but age counts.
        text.after(search, after, if is_by_age(search) { search.order.len() } else { 0 });
    }
    text.push(&format!(" ORDER BY {} LIMIT ", order(search, &keys, leading.is_some())));
    text.args.int(i64::try_from(search.page_rows()).unwrap_or(i64::MAX).saturating_add(1));
    let keys: Vec<String> = keys.iter().map(|key| format!("p.{key}")).collect();
    let order = order(search, &keys, false).replace("created", "p.created").replace(",id", ",p.id");
    text.push(&format!("?) p CROSS JOIN record r ON r.seq=p.seq ORDER BY {order}"));
    if text.is_unsupported {
        return Err(Error::new(ErrorKind::Unsupported, "search", "this store does not know a part of the filter"));
    }
    Ok(Statement { sql: text.sql.into(), args: text.args })
}

/// Whether matches come in the order in which they were made, as an index has them.
fn is_by_age(search: &Search) -> bool {
    matches!(search.order.as_slice(), [] | [OrderKey { field: Field::Created, .. }])
}

/// `is_led`: the first key is never missing.
fn order(search: &Search, keys: &[String], is_led: bool) -> String {
    let mut order = String::new();
    let keys = if is_by_age(search) { &[] } else { keys };
    for (i, (key, name)) in search.order.iter().zip(keys).enumerate() {
        if i > 0 || !is_led {
            order.push_str(&format!("{name} IS NULL,"));
        }
        order.push_str(&format!("{name}{},", if key.descending { " DESC" } else { "" }));
    }
    let way = if search.ties_descend() { " DESC" } else { "" };
    order + &format!("created{way},id{way}")
}

/// The metric by which a search is ordered first, if every match has it: the index of its values then leads to the matches in their order.
struct Leading<'a> {
    metric: &'a str,
    op: Op,
    with: &'a Literal,
    /// What else must hold.
    rest: Vec<&'a Filter>,
}

impl<'a> Leading<'a> {
    fn of(search: &'a Search) -> Option<Self> {
        let Field::Metric(metric) = &search.order.first()?.field else { return None };
        let tests = match search.filter.as_ref()? {
            Filter::All(tests) => tests.as_slice(),
            test => std::slice::from_ref(test),
        };
        let found = tests.iter().enumerate().find_map(|(i, test)| match test {
            Filter::Compare(Field::Metric(of), op, with @ Literal::Number(_)) if of == metric => Some((i, *op, with)),
            _ => None,
        });
        let (leads, op, with) = found?;
        let rest = tests.iter().enumerate().filter(|(i, _)| *i != leads).map(|(_, test)| test).collect();
        Some(Self { metric, op, with, rest })
    }
}

/// The token of the page that ends with this row.
pub(crate) fn token(search: &Search, row: &SqliteRow, record: &Record) -> Result<PageToken> {
    let keys: Result<Vec<Option<Literal>>> = (0..search.order.len()).map(|n| literal(row, COLUMNS + n)).collect();
    Ok(token_of(&Sorted { keys: keys?, created: record.created.as_millis(), id: record.key.id.clone() }))
}

fn literal(row: &SqliteRow, column: usize) -> Result<Option<Literal>> {
    let fault = |error: sqlx::Error| Fault::from(error).into_error("search", Phase::Read);
    let value = row.try_get_raw(column).map_err(fault)?;
    if value.is_null() {
        return Ok(None);
    }
    let literal = match value.type_info().name() {
        "INTEGER" => Literal::Number(row.try_get_unchecked::<i64, _>(column).map_err(fault)?.into()),
        "REAL" => {
            let number = row.try_get_unchecked::<f64, _>(column).map_err(fault)?;
            return Ok(Number::from_f64(number).map(Literal::Number));
        }
        _ => Literal::Text(row.try_get_unchecked(column).map_err(fault)?),
    };
    Ok(Some(literal))
}

/// The record that a condition is about: `r0`, and `r1` for one near it.
#[derive(Clone, Copy)]
struct Row<'a> {
    depth: usize,
    kind: &'a str,
}

impl Row<'_> {
    fn column(self, name: &str) -> String {
        format!("r{}.{name}", self.depth)
    }
}

#[derive(Default)]
struct Text {
    sql: String,
    args: Args,
    /// Records are looked at one after the other until the page is full.
    stops_early: bool,
    /// It was asked for something that a newer core can say and this store cannot.
    is_unsupported: bool,
}

impl Text {
    fn push(&mut self, text: &str) {
        self.sql.push_str(text);
    }

    fn str(&mut self, value: &str) {
        self.sql.push('?');
        self.args.str(value);
    }

    fn literal(&mut self, literal: &Literal) {
        match literal {
            Literal::Text(text) => self.str(text),
            Literal::Bool(is) => self.push(if *is { "1" } else { "0" }),
            Literal::Number(number) => {
                self.sql.push('?');
                match number.as_i64() {
                    Some(number) => self.args.int(number),
                    None => self.args.optional_real(number.as_f64()),
                }
            }
        }
    }

    fn filter(&mut self, row: Row<'_>, filter: &Filter) {
        match filter {
            Filter::All(filters) => {
                // What needs no other row comes first.
                let (far, own): (Vec<&Filter>, _) = filters.iter().partition(|filter| needs_others(filter));
                self.several(row, &[own, far].concat(), " AND ", "1");
            }
            Filter::Any(filters) => self.several(row, &filters.iter().collect::<Vec<_>>(), " OR ", "0"),
            Filter::Not(filter) => {
                self.push("NOT ");
                self.filter(row, filter);
            }
            Filter::Compare(field, op, with) => self.compare(row, field, *op, with),
            Filter::In(field, values, true) => {
                let one = |with: &Literal| Filter::Compare(field.clone(), Op::Eq, with.clone());
                let each: Vec<Filter> = values.iter().map(one).collect();
                self.several(row, &each.iter().collect::<Vec<_>>(), " OR ", "0");
            }
            Filter::In(field, values, false) => {
                let other = |with: &Literal| Filter::Compare(field.clone(), Op::Ne, with.clone());
                let is_comparable = Filter::Any(values.iter().map(other).collect());
                let is_in = Filter::In(field.clone(), values.clone(), true);
                self.filter(row, &Filter::All(vec![is_comparable, Filter::Not(Box::new(is_in))]));
            }
            Filter::Like(field, pattern, is_like) => self.like(row, field, pattern, *is_like),
            Filter::Exists(field) => self.exists(row, field),
            Filter::Near(near, kind, filter) => self.near(row, near, kind, filter.as_deref()),
            _ => self.is_unsupported = true,
        }
    }

    fn several(&mut self, row: Row<'_>, filters: &[&Filter], between: &str, none: &str) {
        self.push("(");
        if filters.is_empty() {
            self.push(none);
        }
        for (i, filter) in filters.iter().enumerate() {
            if i > 0 {
                self.push(between);
            }
            self.filter(row, filter);
        }
        self.push(")");
    }

    fn compare(&mut self, row: Row<'_>, field: &Field, op: Op, with: &Literal) {
        match (field, with) {
            (Field::Metric(name), Literal::Number(_)) => self.compare_metric(row, name, op, with),
            (Field::Body(_), _) => {
                // The type is looked at only where the value fits.
                self.push("CASE WHEN ");
                self.value(row, field);
                self.push(op.as_str());
                self.literal(with);
                self.push(" THEN ");
                self.kind_of(row, field);
                self.push(match with {
                    Literal::Text(_) => "='text' ELSE 0 END",
                    Literal::Number(_) => " IN ('integer','real') ELSE 0 END",
                    Literal::Bool(_) => " IN ('true','false') ELSE 0 END",
                });
            }
            _ => match (text_column(field), number_column(field), with) {
                (Some(column), _, Literal::Text(_)) | (_, Some(column), Literal::Number(_)) => {
                    self.push(&format!("({}{}", row.column(column), op.as_str()));
                    self.literal(with);
                    self.push(")");
                }
                _ => self.push("0"),
            },
        }
    }

    fn compare_metric(&mut self, row: Row<'_>, name: &str, op: Op, with: &Literal) {
        if row.depth > 0 || !self.stops_early {
            return self.list_measured(row, name, op, with);
        }
        self.push("CASE WHEN (SELECT count(*) FROM (SELECT 1 FROM record m WHERE ");
        self.values(row.kind, "m", name, op, with);
        self.push(&format!(" LIMIT {LISTED_MAX}))<{LISTED_MAX} THEN "));
        self.list_measured(row, name, op, with);
        self.push(" ELSE coalesce(");
        self.value(row, &Field::Metric(name.to_owned()));
        self.push(op.as_str());
        self.literal(with);
        self.push(",0) END");
    }

    /// By the index of the values of the metric: found are the records that they are of.
    fn list_measured(&mut self, row: Row<'_>, name: &str, op: Op, with: &Literal) {
        self.push(&format!("({} IN (SELECT ", row.column("id")));
        self.measured(row.kind, "m");
        self.push(" FROM record m WHERE ");
        self.values(row.kind, "m", name, op, with);
        self.push("))");
    }

    /// The matches of a search by way of the values of its leading metric, from the place where the page begins.
    fn leading(&mut self, search: &Search, leading: &Leading<'_>, after: Option<&Sorted>) {
        self.push(" FROM record m0 CROSS JOIN record r0 WHERE r0.id=");
        self.measured(&search.kind, "m0");
        self.push(" AND ");
        self.values(&search.kind, "m0", leading.metric, leading.op, leading.with);
        let descends = search.order.first().is_some_and(|key| key.descending);
        if let Some(Some(value)) = after.and_then(|after| after.keys.first()) {
            self.push(if descends { " AND m0.number<=" } else { " AND m0.number>=" });
            self.literal(value);
        }
        self.push(" AND ");
    }

    /// The id of the record of this kind that a metric is of.
    fn measured(&mut self, kind: &str, metric: &str) {
        self.push(&format!("substr({metric}.parent,?)"));
        self.args.int(i64::try_from(kind.chars().count()).unwrap_or(0).saturating_add(2));
    }

    /// That the row is a value of this metric of a record of this kind, and compares so.
    fn values(&mut self, kind: &str, row: &str, name: &str, op: Op, with: &Literal) {
        self.push(&format!("{row}.kind="));
        self.str(KIND_METRIC_SUMMARY);
        self.push(&format!(" AND {row}.name="));
        self.str(name);
        self.push(&format!(" AND {row}.number{}", op.as_str()));
        self.literal(with);
        let prefix = format!("{kind}:");
        self.push(&format!(" AND substr({row}.parent,1,?)="));
        self.args.int(i64::try_from(prefix.chars().count()).unwrap_or(0));
        self.str(&prefix);
    }

    fn like(&mut self, row: Row<'_>, field: &Field, pattern: &str, is_like: bool) {
        let not = if is_like { "" } else { "NOT " };
        match (field, text_column(field)) {
            (Field::Body(_), _) => {
                self.push("coalesce(");
                self.kind_of(row, field);
                self.push("='text' AND ");
                self.value(row, field);
                self.push(&format!(" {not}GLOB "));
                self.str(&glob(pattern));
                self.push(",0)");
            }
            (_, Some(column)) => {
                self.push(&format!("({} {not}GLOB ", row.column(column)));
                self.str(&glob(pattern));
                self.push(")");
            }
            _ => self.push("0"),
        }
    }

    fn exists(&mut self, row: Row<'_>, field: &Field) {
        match field {
            Field::Body(_) => {
                self.push("(coalesce(");
                self.kind_of(row, field);
                self.push(",'null')!='null')");
            }
            Field::Metric(_) => {
                self.push("(");
                self.value(row, field);
                self.push(" IS NOT NULL)");
            }
            _ => self.push("1"),
        }
    }

    /// The JSON type of a field of the body; NULL if it is missing.
    fn kind_of(&mut self, row: Row<'_>, field: &Field) {
        self.in_body(row, field, "json_type");
    }

    /// The value of a field.
    fn value(&mut self, row: Row<'_>, field: &Field) {
        match field {
            Field::Body(_) => self.in_body(row, field, "json_extract"),
            Field::Metric(name) => {
                self.push("(SELECT m.number FROM record m WHERE m.kind=");
                self.str(KIND_METRIC_SUMMARY);
                self.push(" AND m.id=");
                self.str(&format!("{}:", row.kind));
                self.push(&format!("||{}||", row.column("id")));
                self.str(&format!("/{name}"));
                self.push(")");
            }
            _ => {
                let column = text_column(field).or(number_column(field));
                self.is_unsupported |= column.is_none();
                self.push(&row.column(column.unwrap_or("id")));
            }
        }
    }

    fn in_body(&mut self, row: Row<'_>, field: &Field, function: &str) {
        let Field::Body(path) = field else { return };
        let path: String =
            std::iter::once("$".to_owned()).chain(path.iter().map(|name| format!(".\"{name}\""))).collect();
        let is_annotated = field.may_be_annotated(row.kind);
        // A null in the body is as nothing.
        let is_type = function == "json_type";
        self.push(match (is_annotated, is_type) {
            (false, _) => "",
            (true, false) => "coalesce(",
            (true, true) => "coalesce(nullif(",
        });
        self.push(&format!("{function}({},", row.column("body")));
        self.str(&path);
        self.push(")");
        if is_annotated {
            self.push(&format!("{},(SELECT {function}(n.body,", if is_type { ",'null')" } else { "" }));
            self.str(&path);
            self.push(") FROM record n WHERE n.kind=");
            self.str(KIND_ANNOTATION);
            self.push(" AND n.id=");
            self.str(&format!("{}:", row.kind));
            self.push(&format!("||{}))", row.column("id")));
        }
    }

    /// What an order goes by; NULL for what is neither number nor text.
    fn sorted(&mut self, row: Row<'_>, field: &Field) {
        let Field::Body(_) = field else { return self.value(row, field) };
        self.push("CASE WHEN ");
        self.kind_of(row, field);
        self.push(" IN ('array','object') THEN NULL ELSE ");
        self.value(row, field);
        self.push(" END");
    }

    fn near(&mut self, row: Row<'_>, near: &Near, kind: &str, filter: Option<&Filter>) {
        let other = Row { depth: row.depth.saturating_add(1), kind };
        let name = format!("r{}", other.depth);
        match near {
            Near::Child => {
                self.push(&format!(
                    "EXISTS (SELECT 1 FROM record {name} WHERE {name}.parent={} AND ",
                    row.column("id")
                ));
            }
            Near::Parent => {
                self.push(&format!("EXISTS (SELECT 1 FROM record {name} WHERE {name}.id={} AND ", row.column("parent")))
            }
            Near::To(relation) | Near::From(relation) => {
                let (own, far) = if matches!(near, Near::To(_)) { ("from", "to") } else { ("to", "from") };
                self.push(&format!(
                    "EXISTS (SELECT 1 FROM relation l{0} JOIN record {name} ON {name}.kind=l{0}.{far}_kind AND {name}.id=l{0}.{far}_id \
                     WHERE l{0}.{own}_id={1} AND l{0}.{own}_kind=",
                    other.depth,
                    row.column("id")
                ));
                self.str(row.kind);
                self.push(&format!(" AND l{0}.{far}_kind={name}.kind AND l{0}.kind=", other.depth));
                self.str(relation);
                self.push(" AND ");
            }
            _ => self.is_unsupported = true,
        }
        self.push(&format!("{name}.kind="));
        self.str(kind);
        if let Some(filter) = filter {
            self.push(" AND ");
            self.filter(other, filter);
        }
        self.push(")");
    }

    /// What comes after a place, from its key number `n` on.
    fn after(&mut self, search: &Search, place: &Sorted, n: usize) {
        let key = format!("k{n}");
        let Some((order, value)) = search.order.get(n).zip(place.keys.get(n)) else {
            let than = if search.ties_descend() { '<' } else { '>' };
            self.push(&format!("(created,id){than}("));
            self.sql.push('?');
            self.args.int(place.created);
            self.push(",");
            self.str(&place.id);
            return self.push(")");
        };
        match value {
            None => {
                self.push(&format!("({key} IS NULL AND "));
                self.after(search, place, n.saturating_add(1));
                self.push(")");
            }
            Some(value) => {
                self.push(&format!("({key} IS NULL OR {key}{}", if order.descending { '<' } else { '>' }));
                self.literal(value);
                self.push(&format!(" OR ({key}="));
                self.literal(value);
                self.push(" AND ");
                self.after(search, place, n.saturating_add(1));
                self.push("))");
            }
        }
    }
}

/// Whether other rows than the record itself tell if it holds.
fn needs_others(filter: &Filter) -> bool {
    match filter {
        Filter::All(filters) | Filter::Any(filters) => filters.iter().any(needs_others),
        Filter::Not(filter) => needs_others(filter),
        Filter::Compare(field, ..) | Filter::In(field, ..) | Filter::Like(field, ..) | Filter::Exists(field) => {
            matches!(field, Field::Metric(_))
        }
        _ => true,
    }
}

fn text_column(field: &Field) -> Option<&'static str> {
    Some(match field {
        Field::Name => "name",
        Field::Id => "id",
        Field::Project => "project",
        Field::Parent => "parent",
        Field::State => "state",
        _ => return None,
    })
}

fn number_column(field: &Field) -> Option<&'static str> {
    Some(match field {
        Field::Revision => "revision",
        Field::Created => "created",
        Field::Updated => "updated",
        _ => return None,
    })
}

/// The same pattern in the way of GLOB, which tells capitals from small letters.
fn glob(pattern: &str) -> String {
    let mut glob = String::with_capacity(pattern.len());
    for c in pattern.chars() {
        match c {
            '%' => glob.push('*'),
            '_' => glob.push('?'),
            '*' | '?' | '[' => {
                glob.push('[');
                glob.push(c);
                glob.push(']');
            }
            c => glob.push(c),
        }
    }
    glob
}

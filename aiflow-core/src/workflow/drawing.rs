//! Pictures: how do boxes and arrows become DOT or Mermaid text?
//!
//! Labels are arbitrary text and are escaped here, and only here. The text depends on the drawing alone, so it can be compared.

use std::fmt::Write as _;

use super::Condition;

/// Boxes, groups of boxes, and arrows between them.
#[derive(Debug, Default)]
pub(crate) struct Drawing {
    pub(crate) title: String,
    pub(crate) blocks: Vec<Block>,
    pub(crate) groups: Vec<Group>,
    pub(crate) arrows: Vec<Arrow>,
}

/// One box. Lines of its label are separated by `\n`.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) label: String,
    pub(crate) shape: Shape,
}

/// A frame around blocks.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) label: String,
    /// Positions of its blocks; at least one.
    pub(crate) blocks: Vec<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// A node or a job.
    Step,
    /// A node that reads or writes a dataset.
    Data,
    /// Events that a rule waits for.
    Event,
    /// A rule that waits for several things.
    Rule,
    /// The workflow as a whole.
    Workflow,
}

#[derive(Debug)]
pub(crate) struct Arrow {
    pub(crate) from: End,
    pub(crate) to: End,
    pub(crate) label: String,
    /// Control, drawn dashed; data otherwise.
    pub(crate) control: bool,
}

/// An end of an arrow, by position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Block(usize),
    Group(usize),
}

impl Drawing {
    /// Adds a block and returns its end.
    pub(crate) fn block(&mut self, label: impl Into<String>, shape: Shape) -> End {
        self.blocks.push(Block { label: label.into(), shape });
        End::Block(self.blocks.len().saturating_sub(1))
    }

    /// Adds what leads to `action` on `target`: one arrow if the condition is one operand, otherwise the rule as a block of its own.
    /// `job` says where a job stands in the picture.
    pub(crate) fn rule(
        &mut self,
        condition: &Condition,
        action: &str,
        target: End,
        job: &impl Fn(&str) -> Option<End>,
    ) {
        let single = condition.children().is_empty();
        if single {
            self.operand(condition, action, target, job);
        } else {
            let rule = self.block(format!("{condition:#}"), Shape::Rule);
            self.operands(condition, rule, job);
            self.control(rule, target, action);
        }
    }

    fn operands(&mut self, condition: &Condition, to: End, job: &impl Fn(&str) -> Option<End>) {
        let children = condition.children();
        if children.is_empty() {
            self.operand(condition, "", to, job);
        }
        for condition in children {
            self.operands(condition, to, job);
        }
    }

    fn operand(&mut self, condition: &Condition, action: &str, to: End, job: &impl Fn(&str) -> Option<End>) {
        if let Condition::JobStatus { job: name, statuses, .. } = condition
            && let Some(from) = job(name.as_str())
        {
            let statuses: Vec<&str> = statuses.iter().map(|status| status.as_str()).collect();
            let statuses = statuses.join("|");
            let label = if action.is_empty() { statuses } else { format!("{action} on {statuses}") };
            self.control(from, to, label);
        } else {
            let from = self.event(format!("{condition:#}"));
            self.control(from, to, action);
        }
    }

    /// The block of an event; the same event is drawn once.
    fn event(&mut self, label: String) -> End {
        let known = self.blocks.iter().position(|block| block.shape == Shape::Event && block.label == label);
        known.map_or_else(|| self.block(label, Shape::Event), End::Block)
    }

    fn control(&mut self, from: End, to: End, label: impl Into<String>) {
        self.arrows.push(Arrow { from, to, label: label.into(), control: true });
    }

    /// Graphviz text.
    pub(crate) fn to_dot(&self) -> String {
        let mut text =
            format!("digraph {} {{\n  compound=true; rankdir=LR; node [shape=box, style=rounded];\n", dot(&self.title));
        for (i, block) in self.blocks.iter().enumerate() {
            let shape = match block.shape {
                Shape::Step => "",
                Shape::Data => ", shape=cylinder, style=solid",
                Shape::Event => ", shape=ellipse, style=dashed",
                Shape::Rule => ", shape=hexagon, style=dashed",
                Shape::Workflow => ", shape=doubleoctagon, style=solid",
            };
            let _ = writeln!(text, "  b{i} [label={}{shape}];", dot(&block.label));
        }
        for (i, group) in self.groups.iter().enumerate() {
            let blocks: Vec<String> = group.blocks.iter().map(|block| format!("b{block};")).collect();
            let _ = writeln!(text, "  subgraph cluster_{i} {{ label={}; {} }}", dot(&group.label), blocks.join(" "));
        }
        for arrow in &self.arrows {
            let mut attributes = Vec::new();
            if !arrow.label.is_empty() {
                attributes.push(format!("label={}", dot(&arrow.label)));
            }
            if arrow.control {
                attributes.push("style=dashed".to_owned());
            }
            for (end, name) in [(arrow.from, "ltail"), (arrow.to, "lhead")] {
                if let End::Group(i) = end {
                    attributes.push(format!("{name}=cluster_{i}"));
                }
            }
            let (from, to) = (self.dot_end(arrow.from), self.dot_end(arrow.to));
            let _ = writeln!(text, "  b{from} -> b{to} [{}];", attributes.join(", "));
        }
        text.push_str("}\n");
        text
    }

    /// Graphviz draws an arrow to a frame as one to a block in it that is cut at the frame.
    fn dot_end(&self, end: End) -> usize {
        match end {
            End::Block(i) => i,
            End::Group(i) => self.groups.get(i).and_then(|group| group.blocks.first().copied()).unwrap_or_default(),
        }
    }

    /// Mermaid text.
    pub(crate) fn to_mermaid(&self) -> String {
        let mut text = "flowchart LR\n".to_owned();
        for (i, block) in self.blocks.iter().enumerate() {
            let (open, close) = match block.shape {
                Shape::Step => ("(", ")"),
                Shape::Data => ("[(", ")]"),
                Shape::Event => ("([", "])"),
                Shape::Rule => ("{{", "}}"),
                Shape::Workflow => ("[[", "]]"),
            };
            let _ = writeln!(text, "  b{i}{open}{}{close}", mermaid(&block.label));
        }
        for (i, group) in self.groups.iter().enumerate() {
            let _ = writeln!(text, "  subgraph g{i}[{}]", mermaid(&group.label));
            for block in &group.blocks {
                let _ = writeln!(text, "    b{block}");
            }
            text.push_str("  end\n");
        }
        let name = |end| match end {
            End::Block(i) => format!("b{i}"),
            End::Group(i) => format!("g{i}"),
        };
        for arrow in &self.arrows {
            let line = if arrow.control { "-.->" } else { "-->" };
            let label = if arrow.label.is_empty() { String::new() } else { format!("|{}|", mermaid(&arrow.label)) };
            let _ = writeln!(text, "  {} {line}{label} {}", name(arrow.from), name(arrow.to));
        }
        text
    }
}

/// A quoted string of DOT.
fn dot(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len().saturating_add(2));
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            // Graphviz ends a string at NUL, and reads character entities: `&` must not start one.
            '&' => quoted.push_str("&amp;"),
            c if c.is_control() => quoted.push(' '),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// A quoted label of Mermaid: what could be markup becomes a character code.
fn mermaid(text: &str) -> String {
    let mut quoted = "\"".to_owned();
    for c in text.chars() {
        match c {
            '\n' => quoted.push_str("<br/>"),
            '"' | '#' | '&' | '<' | '>' | '[' | ']' | '{' | '}' | '|' | ';' | '%' | '`' | '\\' => {
                let _ = write!(quoted, "#{};", u32::from(c));
            }
            c if c.is_control() => quoted.push(' '),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

//! The service as somebody runs it: lines go in over TCP, and each of them starts a workflow.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader, Lines, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

/// The service on a free port; killed when the test ends, however it ends.
struct Service {
    child: Child,
    says: Lines<BufReader<ChildStdout>>,
    address: String,
}

impl Service {
    fn start(folder: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_embedding"))
            .env("PORT", "0")
            .env("AIFLOW_URL", format!("sqlite://{}", folder.join("aiflow.db").display()))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut says = BufReader::new(child.stdout.take().unwrap()).lines();
        let first = says.next().unwrap().unwrap();
        let address = first.strip_prefix("listening on ").unwrap().to_owned();
        Self { child, says, address }
    }

    /// Sends lines, and returns the offsets with which each is answered.
    fn send(&self, lines: &[&str]) -> Vec<u64> {
        let mut socket = TcpStream::connect(&self.address).unwrap();
        let mut answers = BufReader::new(socket.try_clone().unwrap()).lines();
        let send = |line: &&str| {
            writeln!(socket, "{line}").unwrap();
            answers.next().unwrap().unwrap().strip_prefix("event ").unwrap().parse().unwrap()
        };
        lines.iter().map(send).collect()
    }

    /// Waits until its jobs have said that they were started with each of these.
    fn wait_for_greetings(&mut self, lines: &[&str]) {
        let mut missing: Vec<String> = lines.iter().map(|line| format!(": {line:?}")).collect();
        while !missing.is_empty() {
            let said = self.says.next().unwrap().unwrap();
            missing.retain(|greeting| !said.ends_with(greeting));
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

#[test]
fn each_line_that_it_receives_starts_a_workflow_also_after_it_was_killed() {
    let folder = tempfile::tempdir().unwrap();
    let mut newest = 0;
    for lines in [["hello", "wine"], ["hello again", "more wine"]] {
        let mut service = Service::start(folder.path());
        let offsets = service.send(&lines);
        assert!(newest < offsets[0] && offsets[0] < offsets[1], "{offsets:?}");
        newest = offsets[1];
        service.wait_for_greetings(&lines);
    }
}

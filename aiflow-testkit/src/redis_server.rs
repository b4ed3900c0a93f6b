//! Throw-away Redis servers: how does a test come by one of its own, and how does it kill it?
//!
//! A test that needs a server and finds none fails; it is never skipped.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Names the program, if it is not `redis-server` on the PATH.
pub const PROGRAM_VARIABLE: &str = "AIFLOW_REDIS_SERVER";

/// Flushes before it acknowledges: nothing acknowledged is ever lost.
pub const ALWAYS: &[&str] = &["--appendonly", "yes", "--appendfsync", "always"];

/// How long a server may take to answer after it was started.
const START_TIME_MAX: Duration = Duration::from_secs(30);
/// How often another port is tried, because somebody took the first.
const PORTS_MAX: u32 = 5;

/// A server on a free port of this machine, with a folder of its own; killed when it is dropped.
#[derive(Debug)]
pub struct RedisServer {
    folder: TempDir,
    port: u16,
    options: Vec<String>,
    child: Child,
}

impl RedisServer {
    /// Starts a server that flushes before it acknowledges.
    ///
    /// # Panics
    /// There is no `redis-server`, or it does not start.
    #[must_use]
    pub fn start() -> Self {
        Self::with(ALWAYS)
    }

    /// Starts a server with these options; without any it keeps nothing on the disk.
    ///
    /// # Panics
    /// There is no `redis-server`, or it does not start.
    #[must_use]
    pub fn with(options: &[&str]) -> Self {
        let folder = TempDir::new().expect("a folder for the server");
        let options: Vec<String> = options.iter().copied().map(str::to_owned).collect();
        for _ in 0..PORTS_MAX {
            let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
            let port = free.expect("a free port").port();
            let mut child = spawn(&folder, port, &options);
            if answers(&mut child, port) {
                return Self { folder, port, options, child };
            }
        }
        panic!("redis-server does not start:\n{}", log_of(&folder));
    }

    /// Its port on the loopback address.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its address, without options.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Kills it with SIGKILL. Its folder stays for [`restart`](Self::restart).
    pub fn kill(&mut self) {
        self.child.kill().expect("the server runs");
        self.child.wait().expect("it is our child");
    }

    /// Starts it again on the same port and what it left behind.
    ///
    /// # Panics
    /// It does not start.
    pub fn restart(&mut self) {
        self.child = spawn(&self.folder, self.port, &self.options);
        assert!(answers(&mut self.child, self.port), "redis-server does not start again:\n{}", log_of(&self.folder));
    }

    /// Makes it stand still (SIGSTOP) or go on (SIGCONT), as a machine that was suspended does.
    ///
    /// # Panics
    /// There is no `kill`.
    pub fn signal(&self, signal: &str) {
        let sent = Command::new("kill").arg(format!("-{signal}")).arg(self.child.id().to_string()).status();
        assert!(sent.is_ok_and(|status| status.success()), "kill -{signal}");
    }

    /// Sends it a command, as `redis-cli` does, and returns the first line of the answer.
    ///
    /// # Panics
    /// It cannot be reached.
    #[must_use]
    pub fn command(&self, words: &[&str]) -> String {
        ask(self.port, words).expect("the server answers")
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        // One that was killed before is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(folder: &TempDir, port: u16, options: &[String]) -> Child {
    let program = std::env::var(PROGRAM_VARIABLE).unwrap_or_else(|_| "redis-server".to_owned());
    let mut command = Command::new(&program);
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--logfile", "log", "--dir"]);
    command.arg(folder.path()).args(options).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap_or_else(|error| {
        panic!(
            "{program} does not start ({error}). These tests need Redis 7.0 or later: install it \
             (`apt-get install redis-server`), or name the program in {PROGRAM_VARIABLE}"
        )
    })
}

/// Waits until the server answers; false if it ends before, because its port is taken.
fn answers(child: &mut Child, port: u16) -> bool {
    let started = Instant::now();
    loop {
        if child.try_wait().expect("it is our child").is_some() {
            return false;
        }
        if ask(port, &["PING"]).is_ok_and(|answer| answer == "+PONG") {
            return true;
        }
        assert!(started.elapsed() < START_TIME_MAX, "redis-server does not answer on port {port}");
        std::thread::yield_now();
    }
}

fn ask(port: u16, words: &[&str]) -> std::io::Result<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(START_TIME_MAX))?;
    let words = words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len()));
    let words: Vec<String> = words.collect();
    write!(stream, "*{}\r\n{}", words.len(), words.concat())?;
    let mut line = Vec::new();
    let mut byte = [0];
    while stream.read(&mut byte)? == 1 && byte != *b"\n" {
        line.extend(byte);
    }
    Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
}

fn log_of(folder: &TempDir) -> String {
    std::fs::read_to_string(folder.path().join("log")).unwrap_or_default()
}

//! A real Redis on an address of this machine, with a directory of its own.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::wait_for;

/// A server that ends with this value.
pub struct RedisServer {
    host: &'static str,
    port: u16,
    directory: TempDir,
    child: Option<Child>,
}

impl RedisServer {
    /// Starts a server on a free port of loopback, which writes every change to its disk.
    ///
    /// # Panics
    /// If there is no `redis-server`, or it does not come up.
    pub fn start() -> Self {
        Self::start_on("127.0.0.1")
    }

    /// Starts a server that listens on another address, such as [`MACHINE`](crate::cluster::MACHINE), where pods reach it.
    ///
    /// # Panics
    /// If this machine does not have the address, there is no `redis-server`, or it does not come up.
    pub fn start_on(host: &'static str) -> Self {
        let port = TcpListener::bind((host, 0))
            .and_then(|listener| listener.local_addr())
            .unwrap_or_else(|error| panic!("find a free port of {host}: {error}"))
            .port();
        let directory = TempDir::new().expect("a temporary directory can be made");
        let mut server = Self {
            host,
            port,
            directory,
            child: None,
        };
        server.restart();
        server
    }

    /// Where it listens, as `host:port`.
    pub fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// A connection to it.
    pub fn connect(&self) -> redis::Connection {
        let client = redis::Client::open(format!("redis://{}/", self.address())).expect("the address is one");
        client.get_connection().expect("the server is up")
    }

    /// Kills it with -9.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("it runs");
            child.wait().expect("it is a child of this process");
        }
    }

    /// Starts it again with what is on its disk.
    pub fn restart(&mut self) {
        self.kill();
        let child = Command::new("redis-server")
            .args([
                "--port",
                &self.port.to_string(),
                "--bind",
                self.host,
                // Who reaches the address may use it; it is either loopback or the network of the tests.
                "--protected-mode",
                "no",
                "--save",
                "",
                "--appendonly",
                "yes",
            ])
            .args(["--appendfsync", "always", "--dir"])
            .arg(self.directory.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let child = child.unwrap_or_else(|error| {
            panic!("cannot start redis-server ({error}); run `cargo xtask setup`, which installs it")
        });
        self.child = Some(child);
        let address = format!("redis://{}/", self.address());
        wait_for("redis to answer", Duration::from_secs(20), || {
            let mut connection = redis::Client::open(address.as_str())
                .ok()?
                .get_connection()
                .ok()?;
            redis::cmd("PING").query::<String>(&mut connection).ok()
        });
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

//! A connection to Redis that comes back.

use std::time::{Duration, Instant};

use redis::{Client, ConnectionLike, ErrorKind, RedisError};

use super::super::ComponentError;

/// How long an answer may take: a connection that is half open must be noticed.
const TIMEOUT: Duration = Duration::from_secs(2);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// A server, and the connection to it if there is one.
pub(super) struct Server {
    address: String,
    client: Client,
    connection: Option<redis::Connection>,
    /// Since when the server is away, as far as it was said.
    away: Option<Instant>,
    pause: Duration,
    retry_at: Option<Instant>,
}

impl Server {
    /// A server that is not connected to yet.
    pub(super) fn new(address: &str) -> Result<Self, ComponentError> {
        let client = Client::open(format!("redis://{address}/")).map_err(|error| {
            ComponentError::Settings(format!(
                "'{address}' is no address of a Redis server ({error}); write host:port"
            ))
        })?;
        Ok(Self {
            address: address.to_owned(),
            client,
            connection: None,
            away: None,
            pause: FIRST_PAUSE,
            retry_at: None,
        })
    }

    /// Does something with the connection. `None` if the server is away: try again after [`Server::pause`].
    ///
    /// # Errors
    /// If the server answers with an error that trying again does not mend.
    pub(super) fn with<T>(
        &mut self,
        what: &str,
        work: impl FnOnce(&mut redis::Connection) -> Result<T, RedisError>,
    ) -> Result<Option<T>, ComponentError> {
        if self.retry_at.is_some_and(|at| Instant::now() < at) {
            return Ok(None);
        }
        let done = self.connected().and_then(work);
        match done {
            Ok(done) => {
                if let Some(since) = self.away.take() {
                    let seconds = since.elapsed().as_secs_f64();
                    tracing::info!(address = self.address, seconds, "redis is back");
                }
                self.pause = FIRST_PAUSE;
                self.retry_at = None;
                Ok(Some(done))
            }
            Err(error) if may_pass(&error) => {
                self.connection = None;
                if self.away.is_none() {
                    self.away = Some(Instant::now());
                    tracing::warn!(address = self.address, %error, "waiting for redis");
                }
                self.retry_at = Some(Instant::now() + self.pause);
                self.pause = (self.pause * 2).min(LONGEST_PAUSE);
                Ok(None)
            }
            Err(error) => Err(ComponentError::outside(
                format!("{what} at redis '{}'", self.address),
                error,
            )),
        }
    }

    /// How long to wait before the next try.
    pub(super) fn pause(&self) -> Duration {
        self.retry_at
            .map_or(Duration::ZERO, |at| at.saturating_duration_since(Instant::now()))
    }

    fn connected(&mut self) -> Result<&mut redis::Connection, RedisError> {
        if self
            .connection
            .as_ref()
            .is_none_or(|connection| !connection.is_open())
        {
            let connection = self.client.get_connection_with_timeout(TIMEOUT)?;
            connection.set_read_timeout(Some(TIMEOUT))?;
            connection.set_write_timeout(Some(TIMEOUT))?;
            self.connection = Some(connection);
        }
        self.connection
            .as_mut()
            .ok_or_else(|| RedisError::from((ErrorKind::Io, "not connected")))
    }
}

/// Whether the server is only away, or starting, or full for now.
fn may_pass(error: &RedisError) -> bool {
    error.is_io_error()
        || error.is_connection_dropped()
        || error.is_timeout()
        || matches!(
            error.code(),
            Some("LOADING" | "MASTERDOWN" | "TRYAGAIN" | "READONLY" | "OOM" | "CLUSTERDOWN")
        )
}

//! The wires between the workers of a crew: each way of each pair goes through a proxy that the test cuts, holds or slows.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;

/// How often a proxy looks whether its mode has changed.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What a proxy does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Passes everything on.
    Pass,
    /// Closes every connection, and lets none in.
    Cut,
    /// Keeps connections open and passes nothing on, in either direction.
    Silent,
    /// Passes on what the caller says and none of the answers.
    NoAnswers,
    /// Passes on at most so many bytes at a time, with a pause of 20 ms in between.
    Slow(usize),
}

/// A proxy on one way from one worker to another. It ends with this value.
pub struct Wire {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    mode: Mutex<Mode>,
    /// Counts cuts: a connection of an older one is closed.
    cuts: AtomicU64,
    target: Mutex<Option<SocketAddr>>,
    ended: AtomicBool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Wire {
    /// A wire that leads nowhere yet.
    pub fn new() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("loopback has a free port");
        let address = listener.local_addr().expect("a listener has an address");
        let shared = Arc::new(Shared {
            mode: Mutex::new(Mode::Pass),
            cuts: AtomicU64::new(0),
            target: Mutex::new(None),
            ended: AtomicBool::new(false),
        });
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || accepting.accept(&listener));
        Self { address, shared }
    }

    /// Where the caller connects to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where new connections lead from now on.
    pub fn lead_to(&self, target: SocketAddr) {
        *lock(&self.shared.target) = Some(target);
    }

    /// Changes what becomes of what is sent.
    pub fn set(&self, mode: Mode) {
        *lock(&self.shared.mode) = mode;
        if mode == Mode::Cut {
            self.shared.cuts.fetch_add(1, Ordering::SeqCst);
        }
    }
}

impl Default for Wire {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        self.shared.cuts.fetch_add(1, Ordering::SeqCst);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn accept(self: &Arc<Self>, listener: &TcpListener) {
        for caller in listener.incoming().flatten() {
            if self.ended.load(Ordering::SeqCst) {
                return;
            }
            let target = *lock(&self.target);
            if *lock(&self.mode) == Mode::Cut {
                continue;
            }
            let Some(called) = target.and_then(|target| TcpStream::connect(target).ok()) else {
                continue;
            };
            let cut = self.cuts.load(Ordering::SeqCst);
            for (from, to, is_answer) in [(&caller, &called, false), (&called, &caller, true)] {
                let (Ok(from), Ok(to)) = (from.try_clone(), to.try_clone()) else {
                    continue;
                };
                let shared = Arc::clone(self);
                std::thread::spawn(move || shared.carry(from, to, is_answer, cut));
            }
        }
    }

    /// Carries bytes until one end closes or the wire is cut.
    fn carry(&self, mut from: TcpStream, mut to: TcpStream, is_answer: bool, cut: u64) {
        let mut bytes = vec![0; 64 << 10];
        let _ = from.set_read_timeout(Some(LOOK_EVERY));
        let _ = (from.set_nodelay(true), to.set_nodelay(true));
        while self.cuts.load(Ordering::SeqCst) == cut {
            let mode = *lock(&self.mode);
            let most = match mode {
                Mode::Silent => 0,
                Mode::NoAnswers if is_answer => 0,
                Mode::Slow(most) => most.min(bytes.len()),
                _ => bytes.len(),
            };
            if most == 0 || mode != Mode::Pass && most < bytes.len() {
                // A slow wire is slow. tidy: allow(sleep) it is what it does
                std::thread::sleep(LOOK_EVERY);
            }
            if most == 0 {
                continue;
            }
            match from.read(&mut bytes[..most]) {
                Ok(0) => break,
                Ok(read) => {
                    if to.write_all(&bytes[..read]).is_err() {
                        break;
                    }
                }
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(_) => break,
            }
        }
        // The other direction sees it.
        let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
    }
}

/// All wires of a crew, and what tells its workers that they lead to the others.
pub(crate) struct Wires {
    wires: Arc<BTreeMap<(u32, u32), Wire>>,
    ended: Arc<AtomicBool>,
    telling: Option<JoinHandle<()>>,
}

impl Wires {
    /// Wires between so many workers, whose directories of peers are `peers-INDEX` in a directory.
    pub(crate) fn start(directory: &Path, workers: u32) -> Self {
        let pairs = (0..workers).flat_map(|from| (0..workers).map(move |to| (from, to)));
        let pairs = pairs.filter(|(from, to)| from != to);
        let wires: Arc<BTreeMap<_, _>> = Arc::new(pairs.map(|pair| (pair, Wire::new())).collect());
        let ended = Arc::new(AtomicBool::new(false));
        let (directory, telling, stop) = (directory.to_owned(), Arc::clone(&wires), Arc::clone(&ended));
        for index in 0..workers {
            std::fs::create_dir_all(peers(&directory, index)).expect("a directory can be made");
        }
        let telling = std::thread::spawn(move || {
            let mut known = BTreeMap::new();
            while !stop.load(Ordering::SeqCst) {
                for (&(from, to), wire) in telling.iter() {
                    tell(&directory, from, to, wire, &mut known);
                }
                // Files can only be looked at again. tidy: allow(sleep) the pause between two looks
                std::thread::sleep(LOOK_EVERY);
            }
        });
        Self {
            wires,
            ended,
            telling: Some(telling),
        }
    }

    /// The wire on which one worker calls another.
    pub(crate) fn get(&self, from: u32, to: u32) -> &Wire {
        &self.wires[&(from, to)]
    }
}

impl Drop for Wires {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        if let Some(telling) = self.telling.take() {
            // It has failed: what it did not tell is missing elsewhere.
            let _ = telling.join();
        }
    }
}

/// The directory in which a worker finds its peers.
pub(crate) fn peers(directory: &Path, index: u32) -> PathBuf {
    directory.join(format!("peers-{index}"))
}

/// Tells a worker that it finds another one at the end of a wire, and leads the wire there.
fn tell(directory: &Path, from: u32, to: u32, wire: &Wire, known: &mut BTreeMap<(u32, u32), Value>) {
    let name = format!("worker-{to}.json");
    let said = std::fs::read(peers(directory, to).join(&name)).ok();
    let Some(mut said) = said.and_then(|said| serde_json::from_slice::<Value>(&said).ok()) else {
        return;
    };
    if known.get(&(from, to)) == Some(&said) {
        return;
    }
    let Some(at) = said["data"].as_str().and_then(|at| at.parse().ok()) else {
        return;
    };
    wire.lead_to(at);
    known.insert((from, to), said.clone());
    said["data"] = wire.address().to_string().into();
    let path = peers(directory, from).join(&name);
    let next = path.with_extension("next");
    std::fs::write(&next, said.to_string()).expect("a file can be written");
    std::fs::rename(&next, &path).expect("a file can be replaced");
}

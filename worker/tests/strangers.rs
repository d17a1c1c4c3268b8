//! Hostile bytes against the sockets of real worker processes while a topology runs on them: all are refused and counted,
//! nobody else is harmed, nothing is lost, and memory stays bounded.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rand::rngs::SmallRng;
use rand::{Rng as _, RngExt as _, SeedableRng as _};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio_stream::{Stream, StreamExt as _};
use waterspout_core::epoch::{Epoch, Member};
use waterspout_core::frame::{FrameBuilder, GroupId, wire};
use waterspout_core::graph::{ComponentSpec, GraphSpec, GroupingSpec, InputSpec, Role, StreamSpec};
use waterspout_core::placement::WorkerIndex;
use waterspout_core::plan::{Delivery, PLAN_VERSION, Plan};

/// The generated messages, as a stranger has them.
#[allow(missing_docs, unreachable_pub, clippy::all, reason = "generated")]
mod proto {
    tonic::include_proto!("waterspout.v1");
}
use proto::workers_client::WorkersClient;
use proto::{DataMessage, Frames, Hello, LinkMessage, Numbered, Peer, data_message, link_message, numbered};

/// Attacks of each kind against each worker.
const ROUNDS: u64 = 5;
/// Connections that are opened at once and say nothing.
const FLOOD: usize = 200;
/// No message may be larger.
const MAX_MESSAGE: usize = 32 << 20;
const MAX_MEMORY: u64 = 200 << 20;
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a worker has to refuse what is not to be refused.
const HARMLESS: Duration = Duration::from_millis(500);

fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(met) = condition() {
            return met;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        // A file can only be looked at again. tidy: allow(sleep) the pause between two looks
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn component(name: &str, role: Role, kind: &str, config: Value, from: Option<&str>) -> ComponentSpec {
    let stream = StreamSpec {
        name: "default".to_owned(),
        fields: vec!["number".to_owned()],
        direct: false,
    };
    let input = |from: &str| InputSpec {
        from: from.to_owned(),
        stream: "default".to_owned(),
        grouping: GroupingSpec::Shuffle,
    };
    ComponentSpec {
        name: name.to_owned(),
        role,
        kind: kind.to_owned(),
        config,
        replicas: 1,
        tick_every_ms: None,
        state_version: 1,
        inputs: from.map(input).into_iter().collect(),
        streams: (role == Role::Spout).then_some(stream).into_iter().collect(),
    }
}

/// Numbers from worker 0 into a file of worker 1.
fn plan() -> Plan {
    let members: Vec<Member> = [0, 1]
        .map(|index| Member {
            index: WorkerIndex(index),
            uid: 0,
            since: Epoch(1),
        })
        .into();
    let generator = json!({"rate": 10_000, "shape": {"sequence": {}}});
    Plan {
        version: PLAN_VERSION,
        topology: "hostile".to_owned(),
        revision: "test".to_owned(),
        epoch: Epoch(1),
        graph: GraphSpec {
            components: vec![
                component("in", Role::Spout, "generator", generator, None),
                component("out", Role::Bolt, "file", json!({"directory": "out"}), Some("in")),
            ],
        },
        delivery: Delivery {
            timeout_ms: 600_000,
            ..Delivery::default()
        },
        ask: members.clone(),
        members,
        coordinator: WorkerIndex(0),
        given_up: Vec::new(),
        placement: vec![WorkerIndex(0), WorkerIndex(1)],
        active: true,
        hash_seed: 0,
        rests: false,
        inherits: None,
        numbers_since: Epoch(0),
        ancestors: Vec::new(),
        complete: false,
    }
}

/// The process of a worker, and where it can be reached.
struct Worker {
    parent: Child,
    process: u32,
    data: SocketAddr,
    http: SocketAddr,
    volume: PathBuf,
}

impl Worker {
    fn start(directory: &Path, index: u32) -> Self {
        let volume = directory.join(format!("volume-{index}"));
        let parent = Command::new(env!("CARGO_BIN_EXE_waterspout-worker"))
            .arg("--plan")
            .arg(directory.join("plan.json"))
            .args(["--index", &index.to_string(), "--log", "error"])
            .arg("--volume")
            .arg(&volume)
            .arg("--peers")
            .arg(directory.join("peers"))
            .arg("--base")
            .arg(directory)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let said = directory.join(format!("peers/worker-{index}.json"));
        let said = wait_for("a worker to be up", || {
            serde_json::from_slice::<Value>(&std::fs::read(&said).ok()?).ok()
        });
        let address = |name: &str| said[name].as_str().unwrap().parse().unwrap();
        Self {
            parent,
            process: said["process"].as_u64().unwrap() as u32,
            data: address("data"),
            http: address("http"),
            volume,
        }
    }

    fn status(&self) -> Option<Value> {
        serde_json::from_slice(&std::fs::read(self.volume.join("status.json")).ok()?).ok()
    }

    /// What its endpoint for Prometheus says of a metric.
    fn metric(&self, name: &str) -> u64 {
        let mut stream = TcpStream::connect(self.http).unwrap();
        write!(
            stream,
            "GET /metrics HTTP/1.1\r\nHost: w\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let mut lines = text.lines();
        let line = lines.find_map(|line| line.strip_prefix(name)?.split_once("} "));
        let line = line.map(|(_, value)| value);
        line.unwrap_or_else(|| panic!("no {name} in {text}"))
            .parse()
            .unwrap()
    }

    fn refused(&self) -> u64 {
        self.metric("waterspout_worker_refused_streams_total")
    }

    /// The most memory that it ever had.
    fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process)).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It ends with the test, whether that went well or not.
        let _ = self.parent.kill();
        let _ = self.parent.wait();
    }
}

fn acked(worker: &Worker) -> u64 {
    let status = worker.status();
    status
        .and_then(|status| status["tasks"][0]["acked"].as_u64())
        .unwrap_or(0)
}

/// A frame as the spout sends it.
fn frame() -> Vec<u8> {
    let mut builder = FrameBuilder::new(7, 0, 0);
    for root in 0..3 {
        let group = GroupId {
            spout: 0,
            life: 1,
            sequence: 0,
        };
        let mut row = Vec::new();
        waterspout_core::value::RowWriter::new(&mut row).int(-1);
        builder.push(&row, group, root);
    }
    let mut bytes = Vec::new();
    wire::encode(&builder.ship(8), 1, &mut bytes);
    bytes
}

fn random(rng: &mut SmallRng, most: usize) -> Vec<u8> {
    let mut bytes = vec![0; rng.random_range(1..most)];
    rng.fill_bytes(&mut bytes);
    bytes
}

/// What is sent.
enum Attack {
    Data(Vec<data_message::Kind>),
    Link(Vec<link_message::Kind>),
    /// To the bare socket.
    Bytes(Vec<u8>),
}

/// What a stranger may come up with against worker `to`. The second part says whether it is to be refused; what is not
/// has no effect.
fn attacks(rng: &mut SmallRng, to: u32) -> Vec<(&'static str, Attack, bool)> {
    use Attack::{Bytes, Data, Link};
    let hello = |uid, start| Hello {
        version: 1,
        topology: "hostile".to_owned(),
        from: Some(Peer {
            index: 1 - to,
            uid,
            start,
        }),
        to,
    };
    // One that claims to be the other worker in the life that it has, and one that nobody knows.
    let (double, stranger) = (hello(0, 1), hello(666 + rng.random_range(0..1 << 40), 1));
    let data = data_message::Kind::Hello;
    let link = link_message::Kind::Hello;
    let frames = |epoch, frames: Vec<u8>| {
        data_message::Kind::Frames(Frames {
            epoch,
            frames: frames.into(),
        })
    };
    let entries = |number, entries: Vec<u8>| {
        let payload = Some(numbered::Payload::Entries(entries.into()));
        link_message::Kind::Numbered(Numbered { number, payload })
    };
    let control = |text: &[u8]| link_message::Kind::Control(text.to_vec().into());
    let mut cut = frame();
    cut.truncate(rng.random_range(1..cut.len()));
    let mut flipped = frame();
    // The stream, the number of rows or of groups: elsewhere another frame may come of it that is right.
    flipped[rng.random_range(20..26)] ^= 1 << rng.random_range(0..8);
    let mut long = frame();
    long[..4].copy_from_slice(&rng.random_range(25 << 20..u32::MAX).to_le_bytes());
    let mut no_frame = random(rng, 300);
    no_frame[0] |= 1;
    let mut no_entries = random(rng, 57);
    no_entries[0] |= 128;
    let of = |change: &dyn Fn(&mut Hello)| {
        let mut hello = hello(0, 1);
        change(&mut hello);
        hello
    };
    let cases = vec![
        ("a version that is another", of(&|hello| hello.version = 2)),
        (
            "another topology",
            of(&|hello| hello.topology = "other".to_owned()),
        ),
        ("another worker", of(&|hello| hello.to = 1 - to)),
        ("nobody", of(&|hello| hello.from = None)),
        ("itself", of(&|hello| hello.from.as_mut().unwrap().index = to)),
    ];
    let mut attacks: Vec<(&'static str, Attack, bool)> = Vec::new();
    for (name, hello) in cases {
        attacks.push((name, Data(vec![data(hello.clone())]), true));
        attacks.push((name, Link(vec![link(hello)]), true));
    }
    let of_double = |kind| Data(vec![data(double.clone()), kind]);
    // Each has numbers of its own.
    let mut strangers = (1 << 40..).map(|number| hello(rng.random_range(0..1 << 40) + number, 1));
    let mut of_stranger = |kinds: Vec<link_message::Kind>| {
        let stranger = strangers.next().map(link);
        Link(stranger.into_iter().chain(kinds).collect())
    };
    attacks.extend([
        ("frames before the hello", Data(vec![frames(1, frame())]), true),
        ("a second hello", of_double(data(double.clone())), true),
        (
            "frames of a stranger",
            Data(vec![data(stranger.clone()), frames(1, frame())]),
            true,
        ),
        ("frames of an epoch to come", of_double(frames(9, frame())), true),
        (
            "frames of an epoch that never was",
            of_double(frames(0, frame())),
            true,
        ),
        ("random bytes as frames", of_double(frames(1, no_frame)), true),
        ("a frame that is cut off", of_double(frames(1, cut)), true),
        ("a frame with a wrong bit", of_double(frames(1, flipped)), true),
        ("a frame that is too long", of_double(frames(1, long)), true),
        (
            "a message that is too long",
            of_double(frames(1, vec![0; MAX_MESSAGE + 1])),
            true,
        ),
        (
            "a ping before the hello",
            Link(vec![link_message::Kind::Ping(1)]),
            true,
        ),
        (
            "random bytes as entries",
            of_stranger(vec![entries(1, no_entries)]),
            true,
        ),
        (
            "a gap in the numbers",
            Link(vec![link(double.clone()), entries(1 << 60, Vec::new())]),
            true,
        ),
        (
            "a gap at the start",
            of_stranger(vec![entries(2, Vec::new())]),
            true,
        ),
        (
            "a number and nothing else",
            of_stranger(vec![link_message::Kind::Numbered(Numbered {
                number: 1,
                payload: None,
            })]),
            true,
        ),
        (
            "a second hello on a link",
            of_stranger(vec![link(stranger.clone())]),
            true,
        ),
        (
            "a control message that is none",
            of_stranger(vec![control(b"{\"complete\":\xff")]),
            true,
        ),
        (
            "words of one that has no part",
            of_stranger(vec![
                control(br#""complete""#),
                control(br#"{"finish":[0,1]}"#),
                control(br#"{"report":{"epoch":1,"states":[[0,"Drained"],[1,"Finished"],[99,"Drained"]]}}"#),
                control(br#"{"leaving":{"pending":0}}"#),
                entries(1, fail_all()),
                link_message::Kind::Numbered(Numbered {
                    number: 2,
                    payload: Some(numbered::Payload::Lost(Peer {
                        index: 1 - to,
                        uid: 0,
                        start: 1,
                    })),
                }),
            ]),
            false,
        ),
        (
            "random bytes",
            Bytes([b"x".to_vec(), random(rng, 2_000)].concat()),
            true,
        ),
        (
            "a request of another protocol",
            Bytes(b"GET / HTTP/1.1\r\nHost: w\r\n\r\n".to_vec()),
            true,
        ),
        ("silence", Bytes(Vec::new()), true),
        ("half a preface", Bytes(b"PRI * HTTP/2.0\r\n".to_vec()), true),
    ]);
    attacks
}

/// Entries that fail every root that the spout may have in flight, if they are listened to.
fn fail_all() -> Vec<u8> {
    let entry = |sequence| waterspout_core::ledger::LedgerEntry {
        group: GroupId {
            spout: 0,
            life: 1,
            sequence,
        },
        roots: [u64::MAX; 4],
        change: waterspout_core::ledger::Change::Fail,
    };
    let mut bytes = Vec::new();
    wire::encode_entries(&(0..2_000).map(entry).collect::<Vec<_>>(), &mut bytes);
    bytes
}

async fn client(address: SocketAddr) -> WorkersClient<tonic::transport::Channel> {
    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{address}")).unwrap();
    WorkersClient::new(endpoint.connect().await.unwrap()).max_encoding_message_size(2 * MAX_MESSAGE)
}

/// The reason with which a worker ends a stream. One that has nothing against it is left after a while.
async fn refusal<T>(
    replies: Result<tonic::Response<impl Stream<Item = Result<T, tonic::Status>> + Unpin>, tonic::Status>,
    patience: Duration,
) -> Option<String> {
    let mut replies = match replies {
        Ok(replies) => replies.into_inner(),
        Err(status) => return Some(status.to_string()),
    };
    let end = async {
        while let Some(reply) = replies.next().await {
            if let Err(status) = reply {
                return Some(status.to_string());
            }
        }
        None
    };
    tokio::time::timeout(patience, end).await.ok().flatten()
}

/// The reason with which a worker puts an end to it.
async fn attack(address: SocketAddr, attack: Attack, patience: Duration) -> Option<String> {
    match attack {
        Attack::Data(kinds) => {
            let messages = kinds.into_iter().map(|kind| DataMessage { kind: Some(kind) });
            let messages = tokio_stream::iter(messages).chain(tokio_stream::pending());
            refusal(client(address).await.data(messages).await, patience).await
        }
        Attack::Link(kinds) => {
            let messages = kinds.into_iter().map(|kind| LinkMessage { kind: Some(kind) });
            let messages = tokio_stream::iter(messages).chain(tokio_stream::pending());
            refusal(client(address).await.link(messages).await, patience).await
        }
        Attack::Bytes(bytes) => {
            use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
            let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
            // It may be closed before all is written.
            let _ = stream.write_all(&bytes).await;
            let mut answer = Vec::new();
            let end = tokio::time::timeout(patience, stream.read_to_end(&mut answer));
            end.await.ok().map(|_| "it was closed".to_owned())
        }
    }
}

#[test]
fn hostile_bytes_are_refused_and_counted_and_harm_nobody() {
    let directory = TempDir::new().unwrap();
    std::fs::write(directory.path().join("plan.json"), plan().to_json()).unwrap();
    let workers = [0, 1].map(|index| Worker::start(directory.path(), index));
    wait_for("tuples to flow", || (acked(&workers[0]) > 1_000).then_some(()));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut rng = SmallRng::seed_from_u64(4);
    let mut expected = [0; 2];
    for round in 0..ROUNDS {
        let before = acked(&workers[0]);
        let seen: Vec<(&str, u32, bool, Option<String>)> = runtime.block_on(async {
            let mut running = JoinSet::new();
            for to in [0, 1] {
                let address = workers[to as usize].data;
                for (name, what, refused) in attacks(&mut rng, to) {
                    let patience = if refused { PATIENCE } else { HARMLESS };
                    running.spawn(async move { (name, to, refused, attack(address, what, patience).await) });
                }
            }
            running.join_all().await
        });
        let others = seen
            .iter()
            .filter(|(.., refused, reason)| *refused != reason.is_some());
        let others: Vec<_> = others.collect();
        assert!(
            others.is_empty(),
            "refused when they must not be, or the reverse, in round {round}: {others:#?}"
        );
        for (_, to, refused, _) in seen {
            expected[to as usize] += u64::from(refused);
        }
        let now = acked(&workers[0]);
        assert!(
            now > before + 1_000,
            "{} roots were acked in round {round}",
            now - before
        );
    }
    for (worker, expected) in workers.iter().zip(expected) {
        assert_eq!(worker.refused(), expected);
    }
    // More than may be open: those beyond are refused at once, the others when they say nothing for 2.5 s. The streams
    // of the workers stay.
    let before = acked(&workers[0]);
    let flood = |worker: &Worker| {
        let streams = (0..FLOOD).map(|_| TcpStream::connect(worker.data).unwrap());
        streams.collect::<Vec<_>>()
    };
    let floods = workers.each_ref().map(flood);
    for (worker, expected) in workers.iter().zip(expected) {
        wait_for("a flood to be refused", || {
            (worker.refused() >= expected + FLOOD as u64).then_some(())
        });
    }
    drop(floods);
    assert!(acked(&workers[0]) > before + 1_000);
    for worker in &workers {
        let status = worker.status().unwrap();
        assert_eq!(status["peers"][0]["losses"], 0, "{status:#}");
        let memory = worker.memory();
        assert!(memory < MAX_MEMORY, "{} MiB", memory >> 20);
    }
    let status = workers[0].status().unwrap();
    assert_eq!(status["tasks"][0]["failed"], 0, "{status:#}");
    // All that was emitted has arrived, once.
    for worker in &workers {
        kill(Pid::from_raw(worker.parent.id() as i32), Signal::SIGTERM).unwrap();
    }
    for mut worker in workers {
        let ended = wait_for("the end of a worker", || worker.parent.try_wait().unwrap());
        assert!(ended.success(), "{ended}");
    }
    let mut numbers: Vec<usize> = Vec::new();
    for file in std::fs::read_dir(directory.path().join("out")).unwrap() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        numbers.extend(text.lines().map(|line| line.parse::<usize>().unwrap()));
    }
    numbers.sort_unstable();
    assert!(numbers.len() > 5_000);
    assert!(
        (0..numbers.len()).eq(numbers),
        "numbers are missing or came twice"
    );
}

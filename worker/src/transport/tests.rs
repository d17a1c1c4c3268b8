//! Real transports on loopback: order, exactly one of each ledger message, credit, breaks, other versions, rubbish.

mod identity;

use std::io::Write;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use waterspout_core::epoch::Incarnation;
use waterspout_core::frame::{FrameBuilder, GroupId};
use waterspout_core::ledger::Change;
use waterspout_core::value::RowWriter;

use super::proto::workers_client::WorkersClient;
use super::proto::{Hello, LinkMessage, link_message};
use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

/// What came in, and a way to wait for it.
#[derive(Debug, Clone, Default)]
struct Seen {
    frames: Vec<(Origin, u32, u64, usize)>,
    entries: Vec<u64>,
    lost: Vec<PeerId>,
    control: Vec<Vec<u8>>,
    up: Vec<PeerId>,
    down: Vec<(PeerId, String)>,
}

struct Recorder {
    seen: watch::Sender<Seen>,
}

impl Recorder {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            seen: watch::Sender::new(Seen::default()),
        })
    }

    async fn wait(&self, what: &str, condition: impl FnMut(&Seen) -> bool) -> Seen {
        let mut receiver = self.seen.subscribe();
        let met = tokio::time::timeout(PATIENCE, receiver.wait_for(condition)).await;
        met.unwrap_or_else(|_| panic!("waited in vain for {what}"))
            .expect("the recorder is there")
            .clone()
    }
}

impl Inbound for Recorder {
    fn frame(&self, origin: Origin, _epoch: u64, target: u32, frame: Frame) {
        self.seen
            .send_modify(|seen| seen.frames.push((origin, target, frame.id, frame.weight())));
    }
    fn entries(&self, entries: Vec<LedgerEntry>) {
        self.seen.send_modify(|seen| {
            seen.entries
                .extend(entries.iter().map(|entry| entry.group.sequence))
        });
    }
    fn lost(&self, about: PeerId) {
        self.seen.send_modify(|seen| seen.lost.push(about));
    }
    fn control(&self, _from: PeerId, message: Vec<u8>) -> Result<(), ControlFault> {
        self.seen.send_modify(|seen| seen.control.push(message));
        Ok(())
    }
    fn peer_up(&self, peer: PeerId) {
        self.seen.send_modify(|seen| seen.up.push(peer));
    }
    fn peer_down(&self, peer: PeerId, reason: &str) {
        self.seen
            .send_modify(|seen| seen.down.push((peer, reason.to_owned())));
    }
    fn admits(&self, _peer: PeerId, epoch: u64) -> Result<Admission, Refused> {
        match epoch {
            0 => Ok(Admission::Drop),
            1 => Ok(Admission::Take),
            _ => Err(Refused::Ever("another epoch runs here".to_owned())),
        }
    }
    fn has_part(&self, _peer: PeerId) -> bool {
        true
    }
    fn fields(&self, stream: u16) -> Option<usize> {
        (stream == 0).then_some(1)
    }
    fn is_here(&self, task: u32) -> bool {
        task < 10
    }
    fn state(&self, revision: &str, epoch: u64, task: u32) -> Result<Arc<[u8]>, Refused> {
        match (revision, epoch) {
            ("before", 1) => Ok(vec![task as u8; 3 << 20].into()),
            ("before", _) => Err(Refused::Now("it does not rest in that epoch".to_owned())),
            _ => Err(Refused::Ever("it is of another revision".to_owned())),
        }
    }
}

fn id(index: u32, start: u64) -> PeerId {
    PeerId {
        index: WorkerIndex(index),
        incarnation: Incarnation { uid: 0, start },
    }
}

async fn start(me: PeerId, tls: Option<TlsFiles>) -> (Arc<Transport>, Arc<Recorder>) {
    let recorder = Recorder::new();
    let mut config = TransportConfig::new(me, "test", ([127, 0, 0, 1], 0).into(), tls);
    config.window_frames = 8;
    let transport = Transport::start(config, Arc::clone(&recorder) as _)
        .await
        .expect("loopback has a free port");
    transport.set_epoch(1);
    transport.serve();
    (transport, recorder)
}

fn frame(id: u64) -> Frame {
    let mut builder = FrameBuilder::new(id, 0, 3);
    let mut row = Vec::new();
    RowWriter::new(&mut row).int(id as i64);
    builder.push_untracked(&row);
    builder.ship(0)
}

fn entry(sequence: u64) -> LedgerEntry {
    let group = GroupId {
        spout: 0,
        life: 1,
        sequence,
    };
    LedgerEntry {
        group,
        roots: [1, 0, 0, 0],
        change: Change::Xor(sequence),
    }
}

/// Passes connections on, until it cuts them.
struct Proxy {
    address: SocketAddr,
    cut: watch::Sender<u64>,
}

impl Proxy {
    async fn to(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("loopback has a free port");
        let address = listener.local_addr().expect("it is bound");
        let cut = watch::Sender::new(0);
        let cuts = cut.clone();
        tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut inside, _)) = listener.accept().await {
                let mut cuts = cuts.subscribe();
                connections.spawn(async move {
                    let Ok(mut outside) = TcpStream::connect(upstream).await else {
                        return;
                    };
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut inside, &mut outside) => {}
                        _ = cuts.changed() => {}
                    }
                });
            }
        });
        Self { address, cut }
    }

    fn cut(&self) {
        self.cut.send_modify(|cuts| *cuts += 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_stay_in_order_and_credit_comes_back_over_mutual_tls() {
    let files = identity::Files::new(&identity::Root::new("one"), TLS_NAME);
    let (sender, sending) = start(id(0, 1), Some(files.tls.clone())).await;
    let (receiver, receiving) = start(id(1, 1), Some(files.tls.clone())).await;
    sender.set_peer(WorkerIndex(1), receiver.address());
    sending.wait("a connection", |seen| seen.up == [id(1, 1)]).await;
    let gate = sender.gate(WorkerIndex(1), 5);
    for number in 0..8 {
        sender.send_frame(WorkerIndex(1), 1, 5, frame(number));
    }
    assert!(gate.is_closed(), "eight frames are on their way");
    sender.send_control(WorkerIndex(1), b"hello".to_vec());
    // Frames wait until it is known that the peer runs the same epoch; control does not.
    let seen = receiving.wait("control", |seen| !seen.control.is_empty()).await;
    assert!(seen.frames.is_empty());
    sender.allow(id(1, 1));
    let seen = receiving.wait("all frames", |seen| seen.frames.len() == 8).await;
    assert_eq!(
        seen.frames.iter().map(|frame| frame.2).collect::<Vec<_>>(),
        (0..8).collect::<Vec<_>>()
    );
    for (origin, target, _, weight) in &seen.frames {
        receiver.consumed(*origin, *target, *weight);
    }
    // The credit that came back lets the next ones go, which the receiver sees.
    sender.send_frame(WorkerIndex(1), 1, 5, frame(8));
    receiving
        .wait("the ninth frame", |seen| seen.frames.len() == 9)
        .await;
    sender.shutdown(Duration::from_secs(1)).await;
    receiver.shutdown(Duration::from_secs(1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ledger_messages_arrive_once_and_in_order_however_often_the_connection_is_cut() {
    let (sender, sending) = start(id(0, 1), None).await;
    let (receiver, receiving) = start(id(1, 1), None).await;
    let proxy = Proxy::to(receiver.address()).await;
    sender.set_peer(WorkerIndex(1), proxy.address);
    for round in 0..5u64 {
        sending
            .wait("a connection", |seen| seen.up.len() as u64 > round)
            .await;
        for number in round * 1000..(round + 1) * 1000 {
            sender.send_entries(WorkerIndex(1), &[entry(number)]);
        }
        sender.send_lost(id(2, round));
        receiving
            .wait("some entries", |seen| seen.entries.len() as u64 > round * 1000)
            .await;
        proxy.cut();
        sending
            .wait("the break", |seen| seen.down.len() as u64 > round)
            .await;
    }
    let seen = receiving
        .wait("all entries", |seen| {
            seen.entries.len() >= 5000 && seen.lost.len() >= 5
        })
        .await;
    assert_eq!(seen.entries, (0..5000).collect::<Vec<_>>());
    assert_eq!(seen.lost, (0..5).map(|round| id(2, round)).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_for_a_former_life_does_not_reach_the_next_one() {
    let (sender, sending) = start(id(0, 1), None).await;
    let (first, receiving) = start(id(1, 1), None).await;
    sender.set_peer(WorkerIndex(1), first.address());
    sending.wait("a connection", |seen| seen.up == [id(1, 1)]).await;
    sender.allow(id(1, 1));
    sender.send_entries(WorkerIndex(1), &[entry(1)]);
    receiving.wait("an entry", |seen| seen.entries == [1]).await;
    // The life ends where it is, and nobody listens at its next address yet.
    let nobody = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let deserted = nobody.local_addr().expect("it is bound");
    drop(nobody);
    sender.set_peer(WorkerIndex(1), deserted);
    sending
        .wait("the end of the first life", |seen| {
            seen.down.iter().any(|down| down.0 == id(1, 1))
        })
        .await;
    sender.send_entries(WorkerIndex(1), &[entry(2)]);
    sender.send_frame(WorkerIndex(1), 1, 5, frame(2));
    let (second, receiving) = start(id(1, 2), None).await;
    sender.set_peer(WorkerIndex(1), second.address());
    sending
        .wait("the second life", |seen| seen.up.last() == Some(&id(1, 2)))
        .await;
    sender.send_entries(WorkerIndex(1), &[entry(3)]);
    sender.allow(id(1, 2));
    // The frame waited for whoever comes; the entry was for ledgers that died.
    let seen = receiving
        .wait("the frame and the last entry", |seen| {
            seen.frames.len() == 1 && seen.entries.contains(&3)
        })
        .await;
    assert_eq!(seen.entries.last(), Some(&3));
    assert!(!seen.entries.contains(&1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_with_another_protocol_version_topology_or_index_is_refused_with_what_to_do() {
    let (transport, _) = start(id(1, 1), None).await;
    let good = Hello {
        version: PROTOCOL_VERSION,
        topology: "test".to_owned(),
        from: Some(id(0, 1).into()),
        to: 1,
    };
    let cases = [
        (
            Hello {
                version: 99,
                ..good.clone()
            },
            "speaks protocol version 1, the caller 99; run the same version",
        ),
        (
            Hello {
                topology: "other".to_owned(),
                ..good.clone()
            },
            "topology 'test', not of 'other'",
        ),
        (
            Hello {
                to: 7,
                ..good.clone()
            },
            "this is worker 1, not worker 7",
        ),
        (
            Hello {
                from: None,
                ..good.clone()
            },
            "does not say who calls",
        ),
    ];
    let mut client = WorkersClient::connect(format!("http://{}", transport.address()))
        .await
        .expect("it listens");
    for (hello, reason) in cases {
        let message = LinkMessage {
            kind: Some(link_message::Kind::Hello(hello)),
        };
        let status = client
            .link(tokio_stream::once(message))
            .await
            .expect_err("refused");
        assert_eq!(status.code(), tonic::Code::FailedPrecondition);
        assert!(status.message().contains(reason), "{}", status.message());
    }
    let message = LinkMessage {
        kind: Some(link_message::Kind::Hello(good)),
    };
    assert!(client.link(tokio_stream::once(message)).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn rubbish_and_frames_of_another_epoch_harm_nobody_else() {
    let (sender, sending) = start(id(0, 1), None).await;
    let (stale, refused) = start(id(2, 1), None).await;
    let (receiver, receiving) = start(id(1, 1), None).await;
    let mut rubbish = std::net::TcpStream::connect(receiver.address()).expect("it listens");
    rubbish.write_all(&[0xff; 4096]).expect("it reads");
    stale.set_epoch(7);
    for transport in [&sender, &stale] {
        transport.set_peer(WorkerIndex(1), receiver.address());
    }
    sending.wait("a connection", |seen| !seen.up.is_empty()).await;
    refused.wait("a connection", |seen| !seen.up.is_empty()).await;
    stale.allow(id(1, 1));
    stale.send_frame(WorkerIndex(1), 7, 5, frame(13));
    let seen = refused.wait("the refusal", |seen| !seen.down.is_empty()).await;
    assert!(
        seen.down[0].1.contains("another epoch runs here"),
        "{:?}",
        seen.down
    );
    sender.allow(id(1, 1));
    sender.send_frame(WorkerIndex(1), 1, 5, frame(1));
    let seen = receiving
        .wait("the good frame", |seen| !seen.frames.is_empty())
        .await;
    assert_eq!(seen.frames.iter().map(|frame| frame.2).collect::<Vec<_>>(), [1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_of_an_epoch_that_has_ended_are_dropped_and_give_their_credit_back() {
    let (sender, sending) = start(id(0, 1), None).await;
    let (receiver, receiving) = start(id(1, 1), None).await;
    sender.set_epoch(0);
    sender.set_peer(WorkerIndex(1), receiver.address());
    sending.wait("a connection", |seen| !seen.up.is_empty()).await;
    sender.allow(id(1, 1));
    let gate = sender.gate(WorkerIndex(1), 5);
    for number in 0..8 {
        sender.send_frame(WorkerIndex(1), 0, 5, frame(number));
    }
    assert_eq!(sender.traffic()[&id(1, 1)], (8, 0));
    // The window has room for eight: the ninth goes only if the first ones gave their credit back.
    sender.set_epoch(1);
    assert!(sender.traffic().values().all(|traffic| *traffic == (0, 0)));
    sender.allow(id(1, 1));
    sender.send_frame(WorkerIndex(1), 0, 5, frame(8));
    for number in 9..17 {
        sender.send_frame(WorkerIndex(1), 1, 5, frame(number));
    }
    let seen = receiving
        .wait("the frames of this epoch", |seen| seen.frames.len() == 8)
        .await;
    let numbers: Vec<u64> = seen.frames.iter().map(|frame| frame.2).collect();
    assert_eq!(numbers, (9..17).collect::<Vec<_>>());
    for &(origin, task, _, weight) in &seen.frames {
        receiver.consumed(origin, task, weight);
    }
    let drained = tokio::time::timeout(PATIENCE, async {
        while gate.frames() > 2 {
            tokio::task::yield_now().await;
        }
    });
    drained.await.expect("the credit comes back");
    assert_eq!(sender.traffic()[&id(1, 1)], (8, 0));
    assert_eq!(receiver.traffic()[&id(0, 1)], (0, 8));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_pod_of_one_index_is_a_worker_of_its_own() {
    let (receiver, receiving) = start(id(1, 1), None).await;
    for (uid, starts) in [(7, 3), (5, 1)] {
        let mut me = id(0, starts);
        me.incarnation.uid = uid;
        let (sender, sending) = start(me, None).await;
        sender.set_peer(WorkerIndex(1), receiver.address());
        sending.wait("a connection", |seen| !seen.up.is_empty()).await;
        sender.send_entries(WorkerIndex(1), &[entry(uid)]);
        receiving
            .wait("its entry", |seen| seen.entries.last() == Some(&uid))
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0")
        .await
        .expect("loopback has a free port");
    let address = taken.local_addr().expect("it is bound");
    let started = Transport::start(
        TransportConfig::new(id(0, 1), "test", address, None),
        Recorder::new(),
    )
    .await;
    let error = started.err().expect("the port is in use").to_string();
    assert!(
        error.contains(&address.to_string()) && error.contains("in use"),
        "{error}"
    );
}

#[tokio::test]
async fn a_state_crosses_in_parts_and_is_refused_with_a_reason() {
    let (here, _) = start(id(0, 1), None).await;
    let (there, _) = start(id(1, 1), None).await;
    let state = here.take_state(there.address(), false, "before", 1, 7).await;
    assert_eq!(state, Ok(vec![7; 3 << 20]));
    for (revision, epoch, why) in [
        ("before", 2, "it does not rest in that epoch"),
        ("after", 1, "it is of another revision"),
    ] {
        let refused = here.take_state(there.address(), false, revision, epoch, 7).await;
        assert!(
            refused.clone().is_err_and(|error| error.contains(why)),
            "{refused:?}"
        );
    }
}

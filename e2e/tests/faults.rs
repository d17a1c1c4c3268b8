//! Processes are killed with -9 while a topology runs: every id arrives, and little arrives twice.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]
#![allow(
    clippy::print_stdout,
    reason = "the figures are part of what these tests are for"
)]

use std::collections::HashMap;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use redis::Commands;
use waterspout_e2e::{Mode, RedisServer, Run, Wire, manifest, wait_for};

/// Roots that may be in flight at each spout task.
const PENDING: usize = 2_000;
/// Spout tasks. When a worker is lost, all of them fail what they have in flight.
const SPOUTS: usize = 3;

/// Kills each worker's process in turn, then workers' processes and parents at random, until `until`.
fn kill_processes(run: &mut Run, until: Instant) -> usize {
    let mut kills = 0;
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    while Instant::now() < until {
        let workers = wait_for("three workers that run", Duration::from_secs(20), || {
            if !run.is_running() {
                return Some(None);
            }
            let workers = run.workers();
            (workers.len() == 3 && workers.iter().all(|worker| worker.1.is_some())).then_some(Some(workers))
        });
        let Some(workers) = workers else { break };
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let (parent, child) = if kills < 3 {
            workers[kills]
        } else {
            workers[(random % 3) as usize]
        };
        let victim = if kills >= 3 && random.is_multiple_of(5) {
            parent
        } else {
            child.unwrap()
        };
        // It may have ended since it was seen.
        let _ = kill(Pid::from_raw(victim as i32), Signal::SIGKILL);
        kills += 1;
        wait_for("the killed process to be gone", Duration::from_secs(10), || {
            let workers = run.workers();
            (!workers
                .iter()
                .any(|(parent, child)| *parent == victim || *child == Some(victim)))
            .then_some(())
        });
        let pause = Instant::now() + Duration::from_millis(700 + random % 600);
        wait_for("the next kill", Duration::from_secs(5), || {
            (Instant::now() >= pause).then_some(())
        });
    }
    kills
}

#[test]
fn redis_to_redis_loses_nothing_when_processes_are_killed() {
    let redis = RedisServer::start();
    let address = redis.address();
    let (_directory, path) = manifest(&format!(
        "
apiVersion: waterspout.dev/v1alpha1
kind: Topology
metadata: {{name: audit}}
spec:
  delivery: {{maxPending: {PENDING}}}
  spouts:
  - name: in
    replicas: {SPOUTS}
    redis: {{address: '{address}', stream: in, group: audit}}
    streams: [{{fields: [id]}}]
  bolts:
  - name: out
    replicas: 3
    inputs: [{{from: in}}]
    redis: {{address: '{address}', append: {{stream: out}}}}
"
    ));
    let mut run = Run::start(["run", path.to_str().unwrap(), "--workers", "3", "--log", "error"]);
    let killing_ends = Instant::now() + Duration::from_secs(30);
    let producer = std::thread::spawn({
        let mut connection = redis.connect();
        move || {
            let mut ids = 0u64;
            while Instant::now() < killing_ends {
                let mut pipeline = redis::pipe();
                for id in ids..ids + 100 {
                    pipeline.cmd("XADD").arg("in").arg("*").arg("id").arg(id).ignore();
                }
                pipeline.query::<()>(&mut connection).unwrap();
                ids += 100;
                let next = Instant::now() + Duration::from_millis(40);
                wait_for("the next batch", Duration::from_secs(5), || {
                    (Instant::now() >= next).then_some(())
                });
            }
            ids
        }
    });
    let kills = kill_processes(&mut run, killing_ends);
    let ids = producer.join().unwrap();
    let mut connection = redis.connect();
    let seen = wait_for("every id", Duration::from_secs(60), || {
        let entries: redis::streams::StreamRangeReply = connection.xrange_all("out").unwrap();
        let mut seen: HashMap<u64, usize> = HashMap::new();
        for entry in entries.ids {
            *seen.entry(entry.get("id").unwrap()).or_default() += 1;
        }
        (seen.len() as u64 == ids).then_some(seen)
    });
    assert!((0..ids).all(|id| seen.contains_key(&id)));
    let duplicates: usize = seen.values().map(|times| times - 1).sum();
    println!("redis to redis: {ids} ids, {kills} kills, 0 lost, {duplicates} duplicates");
    assert!(kills >= 10, "only {kills} kills");
    assert!(
        duplicates <= kills * SPOUTS * PENDING,
        "{duplicates} duplicates after {kills} kills"
    );
    run.signal(Signal::SIGTERM);
    let finished = run.finish(Duration::from_secs(20));
    assert!(finished.status.success(), "{finished:?}");
    // Acknowledged to the source as well, so that the next run does not start over.
    let pending: redis::streams::StreamPendingReply = connection.xpending("in", "audit").unwrap();
    assert_eq!(pending.count(), 0);
}

#[test]
fn what_redis_delivers_into_a_connection_that_breaks_is_read_again_at_once() {
    let redis = RedisServer::start();
    let wire = Wire::new();
    wire.lead_to(redis.address().parse().unwrap());
    // Nobody takes over from a consumer in the time of this test.
    let (_directory, path) = manifest(&format!(
        "
apiVersion: waterspout.dev/v1alpha1
kind: Topology
metadata: {{name: breaks}}
spec:
  spouts:
  - name: in
    redis: {{address: '{}', stream: in, group: breaks, claimAfter: 24h}}
    streams: [{{fields: [id]}}]
  bolts:
  - name: out
    inputs: [{{from: in}}]
    redis: {{address: '{}', append: {{stream: out}}}}
",
        wire.address(),
        redis.address(),
    ));
    let run = Run::start(["run", path.to_str().unwrap(), "--log", "error"]);
    let mut connection = redis.connect();
    let mut add = |ids: std::ops::Range<u64>| {
        for id in ids {
            connection
                .xadd::<_, _, _, _, ()>("in", "*", &[("id", id)])
                .unwrap();
        }
    };
    let mut connection = redis.connect();
    add(0..100);
    wait_for("the first ids", Duration::from_secs(20), || {
        (connection.xlen::<_, u64>("out").unwrap() == 100).then_some(())
    });
    wire.set(Mode::NoAnswers);
    add(100..200);
    wait_for("ids that are delivered", Duration::from_secs(20), || {
        let pending: redis::streams::StreamPendingReply = connection.xpending("in", "breaks").unwrap();
        (pending.count() > 0).then_some(())
    });
    wire.set(Mode::Cut);
    wire.set(Mode::Pass);
    wait_for("every id", Duration::from_secs(20), || {
        (connection.xlen::<_, u64>("out").unwrap() == 200).then_some(())
    });
    drop(run);
}

#[test]
fn file_to_file_loses_nothing_when_processes_are_killed() {
    const LINES: usize = 30_000_000;
    let (directory, path) = manifest(&format!(
        "
apiVersion: waterspout.dev/v1alpha1
kind: Topology
metadata: {{name: audit}}
spec:
  delivery: {{maxPending: {PENDING}}}
  spouts:
  - name: in
    replicas: {SPOUTS}
    file: {{path: in.txt}}
    streams: [{{fields: [line]}}]
  bolts:
  - name: out
    replicas: 3
    inputs: [{{from: in}}]
    file: {{directory: out}}
"
    ));
    let text: String = (0..LINES).map(|id| format!("{id:08}\n")).collect();
    std::fs::write(directory.path().join("in.txt"), text).unwrap();
    let mut run = Run::start(["run", path.to_str().unwrap(), "--workers", "3", "--log", "error"]);
    let kills = kill_processes(&mut run, Instant::now() + Duration::from_secs(30));
    let finished = run.finish(Duration::from_secs(120));
    assert!(finished.status.success(), "{finished:?}");
    let mut seen = vec![0u32; LINES];
    for file in std::fs::read_dir(directory.path().join("out")).unwrap() {
        for line in std::fs::read_to_string(file.unwrap().path()).unwrap().lines() {
            seen[line.parse::<usize>().unwrap()] += 1;
        }
    }
    let lost = seen.iter().filter(|times| **times == 0).count();
    let duplicates: u32 = seen.iter().map(|times| times.saturating_sub(1)).sum();
    println!("file to file: {LINES} lines, {kills} kills, {lost} lost, {duplicates} duplicates");
    println!("{}", finished.stderr.lines().last().unwrap_or_default());
    assert_eq!(lost, 0);
    assert!(kills >= 5, "only {kills} kills");
    // What was acked since the position was saved is emitted again, too: at most as much as may be in flight.
    let most = kills * SPOUTS * 2 * PENDING;
    assert!(
        duplicates as usize <= most,
        "{duplicates} duplicates after {kills} kills, and {most} are the most"
    );
}

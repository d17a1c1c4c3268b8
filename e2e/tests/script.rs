//! Components in other languages, in whole topologies run by the program.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use waterspout_e2e::{
    Finished, Run, manifest, printed_counts, python_program, repository, sample_counts, wait_for, waterspout,
};

fn run(path: &Path, args: &[&str]) -> Finished {
    let args = [&["run", path.to_str().unwrap()], args].concat();
    Run::start(args).finish(Duration::from_secs(60))
}

/// A topology that hands the numbers below `count` to a script.
fn numbers(count: u32, script: &str, streams: &str) -> String {
    format!(
        "apiVersion: waterspout.dev/v1alpha1
kind: Topology
metadata: {{name: numbers}}
spec:
  spouts:
  - name: numbers
    generator: {{count: {count}, shape: {{sequence: {{}}}}}}
    streams: [{{fields: [number]}}]
  bolts:
  - name: script
    inputs: [{{from: numbers}}]
{script}
    streams: {streams}
"
    )
}

#[test]
fn word_count_in_python_gives_the_same_counts_as_in_rust() {
    count("python.yaml", &[]);
    count("python.yaml", &["--workers", "2"]);
}

/// Runs a word count of the examples.
fn count(example: &str, args: &[&str]) {
    let path = repository().join("examples/wordcount").join(example);
    let finished = run(&path, args);
    assert!(finished.status.success(), "{finished:?}");
    assert_eq!(printed_counts(&finished.stdout), sample_counts());
}

#[test]
fn word_count_with_each_step_in_another_language_gives_the_same_counts() {
    count("languages.yaml", &["--workers", "2"]);
}

#[test]
fn a_script_that_cannot_be_loaded_ends_the_run_with_its_traceback() {
    let text = numbers(
        10,
        "    script: {python: \"def process(tup): return nothing_there(\\n\"}",
        "[]",
    );
    let (_directory, path) = manifest(&text);
    let finished = run(&path, &[]);
    assert!(!finished.status.success());
    for words in ["component 'script' cannot be kept alive", "SyntaxError"] {
        assert!(finished.stderr.contains(words), "no {words:?} in {finished:?}");
    }
}

/// The programs of scripts below a process, at any depth.
fn programs(ancestor: u32, name: &str) -> Vec<i32> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<i32>().ok())
        else {
            continue;
        };
        let read = |file: &str| std::fs::read_to_string(entry.path().join(file)).unwrap_or_default();
        // The name in brackets may have blanks; the state and the parent stand behind it.
        let stat = read("stat");
        let mut fields = stat.rsplit(')').next().unwrap().split_whitespace();
        let is_alive = fields.next().is_some_and(|state| state != "Z");
        let parent: i32 = fields.next().and_then(|parent| parent.parse().ok()).unwrap_or(0);
        all.push((pid, parent, is_alive && read("cmdline").contains(name)));
    }
    let mut below = vec![ancestor as i32];
    let mut next = 0;
    while let Some(&parent) = below.get(next) {
        below.extend(
            all.iter()
                .filter(|process| process.1 == parent)
                .map(|process| process.0),
        );
        next += 1;
    }
    let is_program = |process: &&(i32, i32, bool)| process.2 && below.contains(&process.0);
    all.iter().filter(is_program).map(|process| process.0).collect()
}

#[test]
fn a_python_program_that_is_killed_again_and_again_loses_no_tuple() {
    let script = "    script: {python: \"def process(tup): yield (tup.number,)\\n\"}";
    let sink = "  - name: out\n    inputs: [{from: script}]\n    stdout: {}\n";
    let text = numbers(400_000, script, "[{fields: [number]}]")
        .replace("count: 400000", "rate: 100000, count: 400000");
    let (_directory, path) = manifest(&(text + sink));
    let mut run = Run::start(["run", path.to_str().unwrap()]);
    let mut kills = 0;
    let mut seen = 0;
    while run.is_running() && kills < 10 {
        // One that has worked since the last kill.
        let lines = wait_for("more output", Duration::from_secs(30), || {
            let lines = run.stdout().lines().count();
            (lines > seen + 2_000 || !run.is_running()).then_some(lines)
        });
        seen = lines;
        for pid in programs(run.id(), "waterspout_script.py") {
            kills += usize::from(kill(Pid::from_raw(pid), Signal::SIGKILL).is_ok());
        }
    }
    let finished = run.finish(Duration::from_secs(60));
    assert!(finished.status.success(), "{finished:?}");
    assert!(kills >= 3, "only {kills} were killed");
    let mut times = vec![0usize; 400_000];
    for line in finished.stdout.lines() {
        times[line.parse::<usize>().unwrap()] += 1;
    }
    let missing = times.iter().filter(|times| **times == 0).count();
    let again: usize = times.iter().map(|times| times.saturating_sub(1)).sum();
    // At most four batches of 512 tuples are with a program.
    assert!(
        missing == 0 && again <= kills * 4 * 512,
        "{missing} missing, {again} again, {kills} kills"
    );
}

#[test]
fn programs_do_not_outlive_the_worker_whatever_it_dies_of() {
    let script = "    script: {python: \"import subprocess\\nsubprocess.Popen(['sleep', '30'])\\ndef process(tup): pass\\n\"}";
    let text = numbers(1, script, "[]").replace("count: 1,", "rate: 1000,");
    let (_directory, path) = manifest(&text);
    for args in [&[][..], &["--workers", "1"]] {
        let mut run = Run::start([&["run", path.to_str().unwrap()], args].concat());
        let pid = wait_for("a program", Duration::from_secs(30), || {
            assert!(run.is_running());
            programs(run.id(), "waterspout_script.py").pop()
        });
        run.signal(Signal::SIGKILL);
        run.finish(Duration::from_secs(10));
        wait_for("its end", Duration::from_secs(10), || {
            let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            (state.is_empty() || state.contains(") Z ")).then_some(())
        });
    }
}

#[test]
fn a_spout_in_python_emits_again_what_failed() {
    let text = "apiVersion: waterspout.dev/v1alpha1
kind: Topology
metadata: {name: squares}
spec:
  spouts:
  - name: numbers
    script:
      python: |
        def spout():
            log('2000 numbers', 'Warn')
            for number in range(2000):
                yield (number,)
    streams: [{fields: [number]}]
  bolts:
  - name: squares
    inputs: [{from: numbers}]
    script:
      python: |
        seen = set()
        def process(tup):
            if tup.number % 100 == 7 and tup.number not in seen:
                seen.add(tup.number)
                fail()
            else:
                yield (tup.number ** 2 * 10 ** 9,)
    streams: [{fields: [square]}]
  - name: out
    inputs: [{from: squares, global: {}}]
    stdout: {}
";
    let (_directory, path) = manifest(text);
    let finished = run(&path, &[]);
    assert!(finished.status.success(), "{finished:?}");
    let mut lines: Vec<u128> = finished
        .stdout
        .lines()
        .map(|line| line.parse().unwrap())
        .collect();
    lines.sort_unstable();
    let expected: Vec<u128> = (0..2000u128)
        .map(|number| number * number * 10u128.pow(9))
        .collect();
    assert_eq!(lines, expected);
    for words in [" 20 failed", "2000 numbers"] {
        assert!(finished.stderr.contains(words), "{finished:?}");
    }
}

#[test]
fn an_error_is_logged_with_the_lines_of_the_script_and_no_others() {
    let python = "python: \"def helper(tup):\\n  return 1 / 0\\ndef process(tup):\\n  yield helper(tup)\\n\"";
    let javascript = "javascript: \"function helper(tup) {\\n return tup.a.b; }\\nfunction process(tup) { helper(tup); }\\n\"";
    for (script, error, own) in [
        (python, "ZeroDivisionError: division by zero", "waterspout_script"),
        (
            javascript,
            "TypeError: Cannot read properties",
            "waterspout-script.cjs",
        ),
    ] {
        let text = numbers(1, &format!("    script: {{{script}}}"), "[]");
        let (_directory, path) =
            manifest(&text.replace("  spouts:", "  delivery: {maxAttempts: 1}\n  spouts:"));
        let finished = run(&path, &[]);
        assert!(finished.stderr.contains(error), "{finished:?}");
        let has_line =
            |line: &str, of: &str| line.contains(of) && (line.contains("line ") || line.contains(".cjs:"));
        let lines = |of: &str| finished.stderr.lines().filter(|line| has_line(line, of)).count();
        assert_eq!(
            (lines("helper"), lines("process"), lines(own)),
            (1, 1, 0),
            "{finished:?}"
        );
    }
}

#[test]
fn word_count_in_javascript_gives_the_same_counts_and_may_be_asynchronous() {
    let text = std::fs::read_to_string(repository().join("examples/wordcount/python.yaml")).unwrap();
    let (head, rest) = text.split_once("    script:\n").unwrap();
    let (_, rest) = rest.split_once("    streams: [{fields: [word]}]\n").unwrap();
    let (middle, rest) = rest.split_once("    script:\n").unwrap();
    let (_, tail) = rest
        .split_once("    streams: [{fields: [word, count]}]\n")
        .unwrap();
    let split = "    script:
      javascript: |
        async function process(tup) {
          await new Promise((resolve) => setImmediate(resolve));
          return tup.line.split(/\\s+/u).filter((word) => word).map((word) => [word]);
        }
    streams: [{fields: [word]}]
";
    let count = "    script:
      javascript: |
        function process(tup) { state.set(tup.word, (state.get(tup.word) || 0) + 1); }
        function* finish() { yield* state.entries(); }
    streams: [{fields: [word, count]}]
";
    let text = [head, split, middle, count, tail].concat();
    let text = text.replace(
        "text/*",
        &format!("{}/examples/wordcount/text/*", repository().display()),
    );
    let (_directory, path) = manifest(&text);
    let finished = run(&path, &[]);
    assert!(finished.status.success(), "{finished:?}");
    assert_eq!(printed_counts(&finished.stdout), sample_counts());
}

#[test]
fn components_written_for_storm_run_unchanged() {
    let python = python_program("python");
    let python = python.to_str().unwrap();
    for serializer in ["Json", "MessagePack"] {
        let name = if serializer == "Json" { "json" } else { "msgpack" };
        let text = format!(
            "apiVersion: waterspout.dev/v1alpha1
kind: Topology
metadata: {{name: storm}}
spec:
  spouts:
  - name: words
    command: {{argv: ['{python}', spout.py], protocol: Multilang, serializer: {serializer}}}
    streams: [{{fields: [word]}}]
  bolts:
  - name: count
    inputs: [{{from: words, fields: [word]}}]
    command: {{argv: ['{python}', bolt.py], protocol: Multilang, serializer: {serializer}}}
    streams: [{{fields: [word, count, readers]}}]
  - name: out
    inputs: [{{from: count, global: {{}}}}]
    stdout: {{}}
"
        );
        let (directory, path) = manifest(&text);
        let spout = format!(
            "from pystorm import Spout
class Words(Spout):
    def initialize(self, conf, context):
        self.next = 0
        self.again = []
    def next_tuple(self):
        if self.again:
            word, number = self.again.pop()
            self.emit([word], tup_id=[word, number])
        elif self.next < 300:
            self.next += 1
            word = ['nathan', 'b\\u00f6b', 'joey'][self.next % 3]
            tasks = self.emit([word], tup_id=[word, self.next], need_task_ids=True)
            if tasks != [1]:
                raise Exception(f'it went to {{tasks}}')
    def fail(self, id):
        self.again.append(id)
Words(serializer='{name}').run()
"
        );
        let bolt = format!(
            "from pystorm import Bolt
class Count(Bolt):
    auto_ack = False
    auto_anchor = False
    def initialize(self, conf, context):
        self.counts = {{}}
        self.failed = set()
        groupings = context['source->stream->grouping'], context['stream->target->grouping']
        by_word = {{'type': 'FIELDS', 'fields': ['word']}}
        if groupings != ({{'words': {{'default': by_word}}}}, {{'default': {{'out': {{'type': 'FIELDS', 'fields': []}}}}}}):
            raise Exception(f'the groupings are {{groupings}}')
    def process(self, tup):
        word = tup.values[0]
        count = self.counts.get(word, 0)
        if count == 50 and word not in self.failed:
            self.failed.add(word)
            self.fail(tup)
            return
        self.counts[word] = count + 1
        tasks = self.emit([word, count + 1, 0], anchors=[tup], need_task_ids=True)
        if tasks != [2]:
            raise Exception(f'it went to {{tasks}}')
        self.ack(tup)
Count(serializer='{name}').run()
"
        );
        std::fs::write(directory.path().join("spout.py"), spout).unwrap();
        std::fs::write(directory.path().join("bolt.py"), bolt).unwrap();
        let run = Run::start(["run", path.to_str().unwrap()]);
        let lines = wait_for("all counts", Duration::from_secs(60), || {
            let lines: Vec<String> = run.stdout().lines().map(str::to_owned).collect();
            (lines.len() >= 300).then_some(lines)
        });
        for word in ["nathan", "böb", "joey"] {
            assert!(
                lines.iter().any(|line| line == &format!("{word}\t100\t0")),
                "{word} in {serializer}"
            );
        }
        run.signal(Signal::SIGTERM);
        let finished = run.finish(Duration::from_secs(30));
        assert!(finished.status.success(), "{finished:?}");
        assert!(finished.stderr.contains(" 3 failed"), "{finished:?}");
    }
}

#[test]
fn a_line_filter_lets_lines_through_and_fails_what_it_cannot_work_on() {
    let script = "    script: {shell: 'grep -v 5 | sed \"s/$/\\tend/\"'}";
    let sink = "  - name: out\n    inputs: [{from: script, global: {}}]\n    stdout: {}\n";
    let (_directory, path) = manifest(&(numbers(300, script, "[{fields: [number, end]}]") + sink));
    let finished = run(&path, &[]);
    assert!(finished.status.success(), "{finished:?}");
    let mut lines: Vec<&str> = finished.stdout.lines().collect();
    lines.sort_unstable();
    let mut expected: Vec<String> = (0..300)
        .map(|number| format!("{number}\tend"))
        .filter(|line| !line.contains('5'))
        .collect();
    expected.sort_unstable();
    assert_eq!(lines, expected);
    let text = numbers(3, "    script: {shell: 'no-such-program-here'}", "[]");
    let (_directory, path) = manifest(&text);
    let mut run = Run::start(["run", path.to_str().unwrap()]);
    wait_for("the error", Duration::from_secs(30), || {
        assert!(run.is_running());
        run.stderr()
            .contains("no-such-program-here` failed")
            .then_some(())
    });
    run.signal(Signal::SIGKILL);
    run.finish(Duration::from_secs(30));
}

#[test]
fn a_field_may_have_any_name() {
    for script in [
        "python: \"def process(tup): return (tup.count + tup.get('count'),)\"",
        "javascript: \"function process(tup) { return [tup.count + tup.get('count')]; }\"",
    ] {
        let script = format!("    script: {{{script}}}");
        let sink = "  - name: out\n    inputs: [{from: script, global: {}}]\n    stdout: {}\n";
        let text = numbers(3, &script, "[{fields: [number]}]").replacen("[number]", "[count]", 1);
        let (_directory, path) = manifest(&(text + sink));
        let finished = run(&path, &[]);
        assert!(finished.status.success(), "{finished:?}");
        assert_eq!(finished.stdout, "0\n2\n4\n");
    }
}

#[test]
fn a_script_may_have_several_files_in_a_config_map() {
    let script = "    script: {configMap: {name: code, key: main.py}, config: {factor: 3}}";
    let sink = "  - name: out\n    inputs: [{from: script, global: {}}]\n    stdout: {}\n";
    let code = "---
apiVersion: v1
kind: ConfigMap
metadata: {name: code}
data:
  main.py: |
    import helper
    def process(tup):
        return (helper.times(tup.number, context.config['factor']),)
  helper.py: |
    import os
    def times(a, b):
        with open(os.path.join(os.path.dirname(__file__), 'bytes'), 'rb') as file:
            assert file.read() == bytes([0, 255])
        return a * b
binaryData: {bytes: AP8=}
";
    let text = [numbers(3, script, "[{fields: [number]}]").as_str(), sink, code].concat();
    let (_directory, path) = manifest(&text);
    let finished = run(&path, &[]);
    assert!(finished.status.success(), "{finished:?}");
    assert_eq!(finished.stdout, "0\n3\n6\n");
    // The kit for tests finds them, too.
    let driven = Command::new(waterspout())
        .arg("drive")
        .arg(&path)
        .output()
        .unwrap();
    assert!(driven.status.success(), "{driven:?}");
    assert_eq!(driven.stdout, b"0\n3\n6\n{}\n");
    let (_directory, path) = manifest(text.split_once("---").unwrap().0);
    let finished = run(&path, &[]);
    assert!(!finished.status.success());
    assert!(finished.stderr.contains("ConfigMap 'code'"), "{finished:?}");
}

/// A bolt that speaks Storm's protocol without a library: emits a word before it gets any, and others with their length.
const MULTILANG: &str = r#"
import json, os, sys
def read():
    lines = []
    while True:
        line = sys.stdin.readline()
        if line == 'end\n':
            return json.loads(''.join(lines))
        if not line:
            sys.exit()
        lines.append(line)
def send(message):
    sys.stdout.write(json.dumps(message, ensure_ascii=False) + '\nend\n')
    sys.stdout.flush()
def emit(anchors, *values):
    send({'command': 'emit', 'anchors': anchors, 'tuple': values, 'need_task_ids': False})
sys.stdin.reconfigure(encoding='utf-8')
sys.stdout.reconfigure(encoding='utf-8')
setup = read()
open(os.path.join(setup['pidDir'], str(os.getpid())), 'w').close()
send({'pid': os.getpid()})
emit([], 'früh', 4)
failed = set()
while True:
    tuple = read()
    if tuple['stream'] == '__heartbeat':
        send({'command': 'sync'})
    elif tuple['tuple'][0] not in failed and len(failed) < 2:
        failed.add(tuple['tuple'][0])
        send({'command': 'fail', 'id': tuple['id']})
    else:
        word = tuple['tuple'][0]
        emit([tuple['id']], word, len(word))
        send({'command': 'ack', 'id': tuple['id']})
"#;

#[test]
fn scripts_take_non_ascii_words_emit_during_initialise_and_replay_on_fail() {
    let (directory, path) = manifest(
        "apiVersion: waterspout.dev/v1alpha1
kind: Topology
metadata: {name: words}
spec:
  spouts:
  - name: words
    file: {path: words.txt}
    streams: [{fields: [word]}]
  bolts:
  - name: lengths
    inputs: [{from: words}]
    command: {argv: [python3, bolt.py], protocol: Multilang}
    streams: [{fields: [word, length]}]
  - name: out
    inputs: [{from: lengths, global: {}}]
    stdout: {}
",
    );
    std::fs::write(directory.path().join("bolt.py"), MULTILANG).unwrap();
    std::fs::write(
        directory.path().join("words.txt"),
        "größer\n日本語\n🌊🌊\nnathan\n",
    )
    .unwrap();
    let finished = run(&path, &[]);
    assert!(finished.status.success(), "{finished:?}");
    let mut lines: Vec<&str> = finished.stdout.lines().collect();
    lines.sort_unstable();
    let mut expected = ["früh\t4", "größer\t6", "日本語\t3", "🌊🌊\t2", "nathan\t6"];
    expected.sort_unstable();
    assert_eq!(lines, expected);
    assert!(finished.stderr.contains(" 2 failed"), "{finished:?}");
}

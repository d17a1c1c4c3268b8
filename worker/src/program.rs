//! The worker as a program: its flags, its two roles (parent and child), its exit codes.
//!
//! Owns: flags, process set-up, the tokio runtime. Leaves to others: the parent's loop ([`crate::parent`]) and the
//! worker's life ([`crate::worker`]).

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use waterspout_core::epoch::pod_uid;
use waterspout_core::placement::WorkerIndex;

use crate::component::{Components, script};
use crate::discovery::cluster::{self, Place};
use crate::logging::{self, LogFormat};
use crate::parent::{self, EXIT_UNUSABLE};
use crate::poison;
use crate::traces::TraceSettings;
use crate::transport::{TLS_NAME, TlsFiles};
use crate::watchdog::Heartbeat;
use crate::worker::{self, Source, WorkerConfig};

/// The flags of a worker.
#[derive(Debug, Clone, clap::Args)]
pub struct WorkerArgs {
    /// The file with the plan
    #[arg(
        long,
        value_name = "FILE",
        required_unless_present = "config_map",
        requires = "index"
    )]
    pub plan: Option<PathBuf>,
    /// Which worker of the plan this is; in a pod, the number at the end of its name
    #[arg(long)]
    pub index: Option<u32>,
    /// In a pod: the ConfigMap with the plan
    #[arg(long, value_name = "NAME", conflicts_with_all = ["plan", "peers"])]
    #[arg(requires_all = ["service", "pod_name", "pod_namespace", "pod_uid"])]
    pub config_map: Option<String>,
    /// In a pod: the headless Service of the workers
    #[arg(long, value_name = "NAME", requires = "config_map")]
    pub service: Option<String>,
    /// In a pod: its name
    #[arg(long, value_name = "NAME", env = "POD_NAME")]
    pub pod_name: Option<String>,
    /// In a pod: its namespace
    #[arg(long, value_name = "NAME", env = "POD_NAMESPACE")]
    pub pod_namespace: Option<String>,
    /// In a pod: its uid
    #[arg(long, value_name = "UID", env = "POD_UID")]
    pub pod_uid: Option<String>,
    /// The directory that outlives the worker's process
    #[arg(long, value_name = "DIR")]
    pub volume: PathBuf,
    /// The directory in which workers on one machine find each other
    #[arg(long, value_name = "DIR")]
    pub peers: Option<PathBuf>,
    /// What relative paths of components are relative to
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub base: PathBuf,
    /// Where other workers connect to; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
    /// Where /healthz, /readyz, /metrics and /status are served; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    pub http: SocketAddr,
    /// The certificate of this worker (PEM); with --tls-key and --tls-ca, workers talk mutual TLS
    #[arg(long, value_name = "FILE", requires = "tls_key", requires = "tls_ca")]
    pub tls_cert: Option<PathBuf>,
    /// The private key of the certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// The roots that the other workers' certificates are checked against (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_ca: Option<PathBuf>,
    /// The name that the other workers' certificates must carry
    #[arg(long, value_name = "NAME", default_value = TLS_NAME)]
    pub tls_name: String,
    /// Write tuples to standard output as JSON, whatever the manifest says
    #[arg(long)]
    pub json_stdout: bool,
    /// What to log: a level, or a filter such as `info,waterspout_worker::transport=debug`
    #[arg(long, value_name = "FILTER", default_value = "info")]
    pub log: String,
    /// How to log
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub log_format: LogFormat,
    /// Where a collector takes traces by OTLP over gRPC, such as `http://localhost:4317`; without it there are none
    #[arg(long, value_name = "URL", env = "OTEL_EXPORTER_OTLP_ENDPOINT")]
    pub traces: Option<String>,
    /// One root tuple in so many is traced
    #[arg(long, value_name = "COUNT", default_value_t = TRACE_ONE_IN, env = "WATERSPOUT_TRACE_ONE_IN")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    pub trace_one_in: u64,
    /// Tells the traces of one run from those of another (set by `waterspout run`)
    #[arg(long, hide = true, default_value_t = 0)]
    pub trace_seed: u64,
    /// End when this process ends (set by `waterspout run`)
    #[arg(long, hide = true)]
    pub supervisor: Option<i32>,
    /// Run as the child of this process (set by the parent process)
    #[arg(long, hide = true)]
    pub child_of: Option<i32>,
    /// Nobody ends what the parent process leaves behind (set by the parent process)
    #[arg(long, hide = true)]
    pub alone: bool,
    /// What a process leaves to the next one (set by the parent process)
    #[arg(long, hide = true)]
    pub page: Option<PathBuf>,
}

/// One root in so many is traced if nothing else is said.
pub const TRACE_ONE_IN: u64 = 10_000;

impl WorkerArgs {
    fn trace_settings(&self) -> Option<TraceSettings> {
        Some(TraceSettings {
            endpoint: self.traces.clone().filter(|endpoint| !endpoint.is_empty())?,
            one_in: self.trace_one_in,
            seed: self.trace_seed,
        })
    }

    /// The command line that means the same, program name left out.
    pub fn to_args(&self) -> Vec<std::ffi::OsString> {
        let mut args: Vec<std::ffi::OsString> = Vec::new();
        let mut flag = |name: &str, value: &dyn AsRef<std::ffi::OsStr>| {
            args.push(format!("--{name}").into());
            args.push(value.as_ref().to_owned());
        };
        flag("volume", &self.volume);
        flag("base", &self.base);
        flag("listen", &self.listen.to_string());
        flag("http", &self.http.to_string());
        flag("log", &self.log);
        flag("trace-one-in", &self.trace_one_in.to_string());
        flag("trace-seed", &self.trace_seed.to_string());
        flag("tls-name", &self.tls_name);
        flag(
            "log-format",
            &if self.log_format == LogFormat::Json {
                "json"
            } else {
                "text"
            },
        );
        let names = [
            ("config-map", &self.config_map),
            ("service", &self.service),
            ("pod-name", &self.pod_name),
            ("pod-namespace", &self.pod_namespace),
            ("pod-uid", &self.pod_uid),
            ("traces", &self.traces),
        ];
        for (name, value) in names {
            if let Some(value) = value {
                flag(name, value);
            }
        }
        if let Some(index) = self.index {
            flag("index", &index.to_string());
        }
        let files = [
            ("plan", &self.plan),
            ("peers", &self.peers),
            ("page", &self.page),
            ("tls-cert", &self.tls_cert),
            ("tls-key", &self.tls_key),
            ("tls-ca", &self.tls_ca),
        ];
        for (name, value) in files {
            if let Some(value) = value {
                flag(name, value);
            }
        }
        for (name, process) in [("supervisor", self.supervisor), ("child-of", self.child_of)] {
            if let Some(process) = process {
                flag(name, &process.to_string());
            }
        }
        for (name, is_set) in [("--json-stdout", self.json_stdout), ("--alone", self.alone)] {
            if is_set {
                args.push(name.into());
            }
        }
        args
    }
}

/// Runs a worker: as the parent of a process that does the work, or as that process.
///
/// `subcommand` is what this program needs before the flags to get here again, `components` what it has besides the
/// built-in ones.
pub fn main(args: &WorkerArgs, subcommand: &[&str], components: Components) -> ExitCode {
    if let Err(error) = logging::start(args.log_format, &args.log) {
        return refuse(&format!("'--log {}' is no filter: {error}", args.log));
    }
    match args.child_of {
        None => run_parent(args, subcommand),
        Some(parent) => run_child(args, parent, components),
    }
}

fn run_parent(args: &WorkerArgs, subcommand: &[&str]) -> ExitCode {
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(error) => return refuse(&format!("cannot find this program's own file: {error}")),
    };
    if let Some(supervisor) = args.supervisor
        && let Err(error) = parent::end_with_supervisor(supervisor)
    {
        return refuse(&worker::chain(&error));
    }
    let supervisor = args.supervisor;
    let args = WorkerArgs {
        child_of: Some(std::process::id() as i32),
        alone: supervisor.is_none() && args.plan.as_deref().is_some_and(needs_cleaning),
        supervisor: None,
        ..args.clone()
    };
    let ended = parent::run(supervisor, |page| {
        let mut command = Command::new(&program);
        command
            .args(subcommand)
            .args(args.to_args())
            .arg("--page")
            .arg(page);
        command
    });
    match ended {
        Ok(code) => ExitCode::from(code),
        Err(error) => refuse(&worker::chain(&error)),
    }
}

/// Whether the plan in this file has scripts, so that something is left when both processes are dead. In a container
/// everything ends with the first process.
fn needs_cleaning(plan: &Path) -> bool {
    // A plan that cannot be read is the child's to complain about.
    let plan = std::fs::read(plan).ok();
    plan.and_then(|json| serde_json::from_slice(&json).ok())
        .is_some_and(|plan| script::has_programs(&plan))
}

fn run_child(args: &WorkerArgs, parent: i32, components: Components) -> ExitCode {
    let outcome = if args.alone {
        parent::end_with_guard(parent)
    } else {
        parent::die_with_parent(parent)
    };
    if let Err(error) = outcome {
        return refuse(&worker::chain(&error));
    }
    let heartbeat = match Heartbeat::from_stdin() {
        Ok(heartbeat) => Some(heartbeat),
        Err(error) => return refuse(&format!("cannot reach the parent process: {error}")),
    };
    let tls = match (&args.tls_cert, &args.tls_key, &args.tls_ca) {
        (Some(cert), Some(key), Some(ca)) => Some(TlsFiles {
            cert: cert.clone(),
            key: key.clone(),
            ca: ca.clone(),
            name: args.tls_name.clone(),
        }),
        _ => None,
    };
    let (source, index, uid) = match source(args) {
        Ok(source) => source,
        Err(problem) => return refuse(&problem),
    };
    let config = WorkerConfig {
        source,
        index,
        uid,
        volume: args.volume.clone(),
        base: args.base.clone(),
        listen: args.listen,
        http: args.http,
        tls,
        json_stdout: args.json_stdout,
        threads: None,
        components,
        heartbeat,
        page: args.page.clone(),
        traces: args.trace_settings(),
    };
    if let Err(error) = poison::mark_crashes() {
        return refuse(&format!("cannot handle signals of crashes: {error}"));
    }
    worker::run_process(config)
}

/// Where the plan is, which worker this is, and in which pod.
fn source(args: &WorkerArgs) -> Result<(Source, WorkerIndex, u64), String> {
    if let (Some(plan), Some(index)) = (&args.plan, args.index) {
        let source = Source::Files {
            plan: plan.clone(),
            peers: args.peers.clone(),
        };
        let uid = args.pod_uid.as_deref().map_or(0, pod_uid);
        return Ok((source, WorkerIndex(index), uid));
    }
    let missing =
        || "in a pod, say --config-map, --service, --pod-name, --pod-namespace and --pod-uid".to_owned();
    let pod = args.pod_name.as_ref().ok_or_else(missing)?;
    let index = match args.index {
        Some(index) => WorkerIndex(index),
        None => cluster::index_of(pod).ok_or_else(|| {
            format!("the pod's name '{pod}' has no number at its end; say with --index which worker this is")
        })?,
    };
    let place = Place {
        namespace: args.pod_namespace.clone().ok_or_else(missing)?,
        config_map: args.config_map.clone().ok_or_else(missing)?,
        service: args.service.clone().ok_or_else(missing)?,
    };
    let uid = pod_uid(args.pod_uid.as_ref().ok_or_else(missing)?);
    Ok((Source::Cluster(place), index, uid))
}

#[allow(clippy::print_stderr, reason = "logging may not have started")]
fn refuse(problem: &str) -> ExitCode {
    eprintln!("error: {problem}");
    ExitCode::from(EXIT_UNUSABLE)
}

//! The processes of a pod. The nodes of our own cluster are this machine, so a test can look at them and end them.

use std::fs;

/// A process.
#[derive(Debug, Clone)]
pub struct PodProcess {
    /// Its id on this machine.
    pub id: i32,
    arguments: Vec<String>,
}

impl PodProcess {
    /// Whether one of its arguments is this one.
    pub fn has_argument(&self, argument: &str) -> bool {
        self.arguments.iter().any(|found| found == argument)
    }
}

/// The processes of the pod with this uid that run this program.
///
/// # Panics
/// If the processes of this machine cannot be listed.
pub fn processes_of(pod_uid: &str, program: &str) -> Vec<PodProcess> {
    // A kubelet names the cgroup of a pod by its uid; with systemd, dashes become underscores.
    let names = [pod_uid.to_owned(), pod_uid.replace('-', "_")];
    let entries = fs::read_dir("/proc").expect("this is Linux");
    let processes = entries.filter_map(|entry| {
        let path = entry.ok()?.path();
        let id: i32 = path.file_name()?.to_str()?.parse().ok()?;
        // It may end while it is looked at.
        let groups = fs::read_to_string(path.join("cgroup")).ok()?;
        if !names.iter().any(|name| groups.contains(name)) {
            return None;
        }
        let line = fs::read(path.join("cmdline")).ok()?;
        let arguments = line
            .split(|&byte| byte == 0)
            .map(|word| String::from_utf8_lossy(word).into_owned());
        Some(PodProcess {
            id,
            arguments: arguments.collect(),
        })
    });
    processes
        .filter(|process| {
            process
                .arguments
                .first()
                .is_some_and(|path| path.ends_with(program))
        })
        .collect()
}

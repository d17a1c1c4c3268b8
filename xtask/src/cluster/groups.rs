//! The control groups of the cluster, by which all its processes are known, whatever becomes of those who started them.
//!
//! Owns: the group of the cluster's own programs and one group for the pods of each node, in version 1 and 2 of control
//! groups. Invariant: in a group of ours is only what a program of the cluster has started.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::places::{Host, PREFIX};

/// The group of the cluster's own programs.
const PROGRAMS: &str = "wsp-programs";

/// What a line of `/proc/mounts` says about control groups.
#[derive(Debug, PartialEq, Eq)]
struct Hierarchy {
    mount: PathBuf,
    is_first_version: bool,
    controllers: Vec<String>,
}

/// All hierarchies, those of version 1 first.
fn parse(mounts: &str) -> Vec<Hierarchy> {
    let of_kind = |wanted: &str| -> Vec<Hierarchy> {
        mounts
            .lines()
            .filter_map(|line| {
                let words: Vec<&str> = line.split(' ').collect();
                let [_, mount, kind, options, ..] = words[..] else {
                    return None;
                };
                (kind == wanted).then(|| Hierarchy {
                    mount: mount.into(),
                    is_first_version: kind == "cgroup",
                    controllers: options.split(',').map(str::to_owned).collect(),
                })
            })
            .collect()
    };
    let mut all = of_kind("cgroup");
    all.extend(of_kind("cgroup2"));
    all
}

/// Those that kubelets use: where there are both versions, the first. In the second a runtime leaves empty groups.
fn in_use(mut all: Vec<Hierarchy>) -> Vec<Hierarchy> {
    if all.iter().any(|one| one.is_first_version) {
        all.retain(|one| one.is_first_version);
    }
    all
}

impl Hierarchy {
    fn has(&self, controller: &str) -> bool {
        self.controllers.iter().any(|has| has == controller)
    }
}

fn hierarchies() -> anyhow::Result<Vec<Hierarchy>> {
    let mounts = fs::read_to_string("/proc/mounts").context("read '/proc/mounts'")?;
    let found = parse(&mounts);
    if found.is_empty() {
        bail!("no control groups are mounted; mount them at '/sys/fs/cgroup'");
    }
    Ok(found)
}

/// Makes the groups.
pub(super) fn make(nodes: u8) -> anyhow::Result<()> {
    let hierarchies = in_use(hierarchies()?);
    for hierarchy in &hierarchies {
        for host in Host::all(nodes) {
            let group = hierarchy.mount.join(host.group());
            make_one(&group)?;
            if hierarchy.has("cpuset") {
                for file in ["cpuset.cpus", "cpuset.mems"] {
                    let all = fs::read(hierarchy.mount.join(file))
                        .with_context(|| format!("read '{file}' of all"))?;
                    fs::write(group.join(file), all)
                        .with_context(|| format!("write '{file}' of '{}'", group.display()))?;
                }
            }
        }
    }
    make_one(&programs(&hierarchies))
}

/// The file into which a process writes its id to belong to the cluster.
pub(super) fn entrance() -> anyhow::Result<PathBuf> {
    Ok(programs(&in_use(hierarchies()?)).join("cgroup.procs"))
}

/// One hierarchy is enough to know processes by; it is one that containers have no reason to touch.
fn programs(hierarchies: &[Hierarchy]) -> PathBuf {
    let chosen = hierarchies.iter().find(|one| one.has("pids"));
    chosen.unwrap_or(&hierarchies[0]).mount.join(PROGRAMS)
}

fn make_one(group: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(group).with_context(|| {
        format!(
            "make the control group '{}'; in a container it takes a privileged one",
            group.display()
        )
    })
}

/// Kills all processes of the groups, and removes the groups.
pub(super) fn end_all() -> anyhow::Result<()> {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let groups = ours()?;
        let ids: Vec<i32> = groups.iter().flat_map(|group| members(group)).collect();
        for id in &ids {
            // It may have ended meanwhile.
            let _ = kill(Pid::from_raw(*id), Signal::SIGKILL);
        }
        if ids.is_empty() && groups.iter().rev().all(|group| fs::remove_dir(group).is_ok()) {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("processes {ids:?} or their control groups {groups:?} do not end");
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// The groups that are there, each before those inside of it.
fn ours() -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for hierarchy in hierarchies()? {
        let mut folders: Vec<PathBuf> = folders(&hierarchy.mount);
        folders.retain(|folder| {
            let name = folder.file_name().unwrap_or_default();
            name.to_string_lossy().starts_with(PREFIX)
        });
        while let Some(folder) = folders.pop() {
            folders.extend(self::folders(&folder));
            found.push(folder);
        }
    }
    Ok(found)
}

/// The folders in a folder, of which some may have gone meanwhile.
fn folders(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

fn members(group: &Path) -> Vec<i32> {
    let ids = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    // A process of another namespace has the id 0 here, and 0 would mean this one's own group.
    ids.lines()
        .filter_map(|id| id.parse().ok())
        .filter(|id| *id > 0)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hierarchies_of_version_1_are_used_where_there_are_any() {
        let hybrid = "tmpfs /sys/fs/cgroup tmpfs rw 0 0\n\
                      cgroup /sys/fs/cgroup/cpu cgroup rw,relatime,cpu 0 0\n\
                      cgroup2 /sys/fs/cgroup/unified cgroup2 rw,relatime 0 0\n\
                      cgroup /sys/fs/cgroup/pids cgroup rw,relatime,pids 0 0\n";
        assert_eq!(parse(hybrid).len(), 3);
        let found = in_use(parse(hybrid));
        assert_eq!(found.len(), 2);
        assert!(found[0].has("cpu") && found[1].has("pids"));
        assert_eq!(programs(&found), Path::new("/sys/fs/cgroup/pids/wsp-programs"));
    }

    #[test]
    fn version_2_is_used_where_it_is_alone() {
        let found = in_use(parse(
            "cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid,nodev 0 0\nproc /proc proc rw 0 0\n",
        ));
        assert_eq!(programs(&found), Path::new("/sys/fs/cgroup/wsp-programs"));
        assert_eq!(parse("proc /proc proc rw 0 0\nodd\n"), []);
    }
}

//! The page, as the process that works writes it.
//!
//! ```text
//! words of 8 bytes, little-endian as the machine is
//! head (512 words)   MAGIC │ most attempts │ how the process ended (by the parent)
//! region             kind << 32 | task │ words of the region │ what follows
//!   of a bolt        mark │ at: (row + 1) << 32 | lineage │ frames │ bundles << 32 | groups │ 250 x (spout << 32 | life, sequence)
//!                    │ bundles x (roots, roots x (ordinal << 8 | root)), as far as they fit
//!   of a spout       life │ groups x (sequence + 1, 256 keys)
//! ```

use std::fs::File;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use waterspout_core::frame::{BUNDLES, Frame};
use waterspout_core::ledger::{GROUP, Ledger, LedgerSettings};

use super::{Cause, memory};

pub(super) const MAGIC: u64 = 0x7761_7465_7273_7031;
/// Words of a page of the machine's memory; regions are made of whole ones.
pub(super) const UNIT: usize = 512;
pub(super) const BOLT: u64 = 1;
pub(super) const SPOUT: u64 = 2;
pub(super) const BOLT_WORDS: usize = 2 * UNIT;
/// Groups of a frame that a place has room for.
pub(super) const GROUPS: usize = 250;
/// The lineage of a row without roots.
pub(super) const NO_LINEAGE: u64 = 0xffff_ffff;
pub(super) const MARK: usize = 2;
pub(super) const AT: usize = 3;
pub(super) const FRAMES: usize = 4;
pub(super) const COUNTS: usize = 5;
pub(super) const FIRST_GROUP: usize = 6;
pub(super) const FIRST_BUNDLE: usize = FIRST_GROUP + 2 * GROUPS;
pub(super) const LIFE: usize = 2;
pub(super) const FIRST_KEYS: usize = 3;
pub(super) const KEYS: usize = 1 + GROUP;
/// Words of a place that nobody reads after a death.
const SHORT: usize = 64;

/// Memory that says where each task is, and that outlives the process if it has a file.
#[derive(Debug)]
pub struct Page {
    file: Option<File>,
    regions: Mutex<Regions>,
}

#[derive(Debug, Default)]
struct Regions {
    /// Words of the file that are in use.
    end: usize,
    free: Vec<&'static [AtomicU64]>,
}

/// What one task has of a page. It goes back when this is dropped.
#[derive(Debug)]
struct Region {
    page: Arc<Page>,
    words: &'static [AtomicU64],
}

impl Page {
    /// A page of this process only.
    pub fn of_this_process() -> Arc<Self> {
        Arc::new(Self {
            file: None,
            regions: Mutex::default(),
        })
    }

    /// The page in a file that the parent process holds. What is in it is gone.
    ///
    /// # Errors
    /// If the file cannot be used.
    pub fn open(path: &Path) -> std::io::Result<Arc<Self>> {
        let file = File::options().read(true).write(true).open(path)?;
        file.set_len(0)?;
        file.set_len(8 * UNIT as u64)?;
        let head = memory::map(&file, 0, units(UNIT))?;
        head[0].store(MAGIC, Ordering::Relaxed);
        Ok(Arc::new(Self {
            file: Some(file),
            regions: Mutex::new(Regions {
                end: UNIT,
                free: vec![],
            }),
        }))
    }

    /// Says how often a tuple is tried, to the parent.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn set_most_attempts(&self, most: u32) -> std::io::Result<()> {
        use std::os::unix::fs::FileExt;
        match &self.file {
            Some(file) => file.write_all_at(&u64::from(most).to_le_bytes(), 8),
            None => Ok(()),
        }
    }

    /// The place of a bolt's task.
    pub fn bolt(self: &Arc<Self>, task: u32) -> Here {
        let words = if self.file.is_some() { BOLT_WORDS } else { SHORT };
        let region = self.take(BOLT, task, words);
        Here {
            place: Place {
                words: region.words,
                at: &region.words[AT],
            },
            _region: region,
        }
    }

    /// The keys of a spout's task. `None` if nobody would read them.
    pub fn spout(self: &Arc<Self>, task: u32, ledger: &LedgerSettings) -> Option<Keys> {
        self.file.as_ref()?;
        let region = self.take(SPOUT, task, FIRST_KEYS + KEYS * ledger.max_groups());
        (region.words.len() > SHORT).then_some(Keys { region })
    }

    fn take(self: &Arc<Self>, kind: u64, task: u32, words: usize) -> Region {
        let words = self.find(words);
        for word in words.iter().skip(2).take(4) {
            word.store(0, Ordering::Relaxed);
        }
        words[1].store(words.len() as u64, Ordering::Relaxed);
        words[0].store(kind << 32 | u64::from(task), Ordering::Release);
        Region {
            page: Arc::clone(self),
            words,
        }
    }

    fn find(&self, words: usize) -> &'static [AtomicU64] {
        let units_of = units(words);
        let mut regions = self.regions.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = if self.file.is_some() {
            units_of.get()
        } else {
            SHORT
        };
        if let Some(at) = regions.free.iter().position(|free| free.len() == wanted) {
            return regions.free.swap_remove(at);
        }
        if let Some(file) = &self.file {
            let end = regions.end + wanted;
            let made = file
                .set_len(8 * end as u64)
                .and_then(|()| memory::map(file, regions.end, units_of));
            match made {
                Ok(made) => {
                    regions.end = end;
                    return made;
                }
                Err(error) => {
                    tracing::warn!(%error, "deaths of a task are not told from others: no memory to share")
                }
            }
        }
        // It stays for as long as the process, as a mapped one does; few are ever made.
        Vec::leak((0..SHORT).map(|_| AtomicU64::new(0)).collect())
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        self.words[0].store(0, Ordering::Relaxed);
        let mut regions = self.page.regions.lock().unwrap_or_else(PoisonError::into_inner);
        regions.free.push(self.words);
    }
}

/// Whole units, in words.
fn units(words: usize) -> NonZeroUsize {
    NonZeroUsize::new(words.div_ceil(UNIT) * UNIT).unwrap_or(NonZeroUsize::MIN)
}

/// A bolt's task keeps this for as long as it is there.
#[derive(Debug)]
pub struct Here {
    place: Place,
    _region: Region,
}

impl std::ops::Deref for Here {
    type Target = Place;
    #[inline]
    fn deref(&self) -> &Place {
        &self.place
    }
}

/// Where one bolt's task is.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    words: &'static [AtomicU64],
    at: &'static AtomicU64,
}

impl Place {
    /// The task begins a frame.
    pub fn enter(&self, frame: &Frame) {
        let word = |at: usize, value: u64| self.words[at].store(value, Ordering::Relaxed);
        let room = GROUPS.min((self.words.len() - FIRST_GROUP) / 2);
        for (group, at) in frame.groups.iter().take(room).zip((FIRST_GROUP..).step_by(2)) {
            word(
                at,
                u64::from(group.group.spout) << 32 | u64::from(group.group.life),
            );
            word(at + 1, group.group.sequence);
        }
        let mut bundles = 0;
        let mut at = FIRST_BUNDLE;
        for bundle in &frame.bundles {
            if at + 1 + bundle.len() > self.words.len() {
                break;
            }
            word(at, bundle.len() as u64);
            for (&(ordinal, root), at) in bundle.iter().zip(at + 1..) {
                word(at, u64::from(ordinal) << 8 | u64::from(root));
            }
            at += 1 + bundle.len();
            bundles += 1;
        }
        word(COUNTS, bundles << 32 | frame.groups.len().min(room) as u64);
        let frames = self.words[FRAMES].load(Ordering::Relaxed);
        word(FRAMES, frames.wrapping_add(1));
    }

    /// The task begins row `row` of its frame.
    #[inline(always)]
    pub fn at(&self, row: usize, frame: &Frame) {
        let lineage = frame
            .lineage
            .get(row)
            .map_or(NO_LINEAGE, |&lineage| u64::from(lineage));
        self.at.store((row as u64 + 1) << 32 | lineage, Ordering::Relaxed);
    }

    /// The task is at no row.
    #[inline]
    pub fn leave(&self) {
        self.at.store(0, Ordering::Relaxed);
    }

    /// What changes with each row that the task begins; `None` if it is at none.
    pub fn row(&self) -> Option<(u64, u64)> {
        let at = self.at.load(Ordering::Relaxed);
        (at != 0).then(|| (self.words[FRAMES].load(Ordering::Relaxed), at))
    }

    /// The process ends because of the row that the task is at.
    pub fn mark(self, cause: Cause) {
        self.mark_word().store(cause.code(), Ordering::Relaxed);
    }

    pub(super) fn mark_word(self) -> &'static AtomicU64 {
        &self.words[MARK]
    }
}

/// What makes the next process know the roots of one spout task again.
#[derive(Debug)]
pub struct Keys {
    region: Region,
}

impl Keys {
    /// The spout's ledger begins another life.
    pub fn begin(&self, life: u32) {
        let words = self.region.words;
        words[LIFE].store(u64::from(life), Ordering::Relaxed);
        words
            .iter()
            .skip(FIRST_KEYS)
            .step_by(KEYS)
            .for_each(|group| group.store(0, Ordering::Relaxed));
    }

    /// Notes the message ids of the roots that were opened since the last call as their keys.
    #[inline]
    pub fn note(&self, ledger: &mut Ledger) {
        let words = self.region.words;
        ledger.note_new(|place, sequence, root, messages| {
            let start = FIRST_KEYS + KEYS * place as usize;
            let Some(words) = words.get(start..start + KEYS) else {
                return;
            };
            words[0].store(sequence + 1, Ordering::Relaxed);
            for (word, &message) in words[1 + root..].iter().zip(messages) {
                word.store(message, Ordering::Relaxed);
            }
        });
    }

    /// Notes the key of one root, of the group at `place` with this sequence.
    pub fn note_one(&self, place: u32, sequence: u64, root: u8, key: u64) {
        let start = FIRST_KEYS + KEYS * place as usize;
        if let Some(words) = self.region.words.get(start..start + KEYS) {
            words[0].store(sequence + 1, Ordering::Relaxed);
            words[1 + usize::from(root)].store(key, Ordering::Relaxed);
        }
    }
}

/// Whether a lineage is that of a row with several roots, and of which bundle.
pub(super) fn bundle_of(lineage: u64) -> Option<usize> {
    (lineage >= u64::from(BUNDLES)).then(|| (lineage - u64::from(BUNDLES)) as usize)
}

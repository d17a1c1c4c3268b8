//! The form of frames and ledger entries on the wire. All numbers are little-endian.
//!
//! ```text
//! frame
//!   u32 length of what follows
//!   u64 id │ u32 target task │ u32 source task │ u16 stream │ u16 rows │ u16 groups
//!   groups x group │ u16 bundles │ bundles x bundle │ u32 length of lineage │ lineage │ rows x row length │ data
//! group
//!   u32 spout task │ u32 life │ u64 sequence │ 4 x u64 roots
//! bundle: the roots of a row that has several
//!   u16 roots │ roots x (u16 group ordinal, u8 root)
//! row length
//!   u8 below 255 │ 255, u32
//! lineage (nothing without groups): runs until all rows have theirs
//!   u16 rows │ u16 group ordinal << 8 + root of the first row; each next row has the next root
//!   251 << 8 + n instead: the row has the roots of bundle n, which no other row has; bundles are in the order of rows
//! entry
//!   u8 0 xor, 1 fail, 2 renew │ group │ u64 id (0 with fail and renew)
//! ```
//!
//! Invariant: what [`decode`] returns is well formed in every respect that readers of frames rely on. Nothing is
//! allocated beyond what the input is long enough for.

use thiserror::Error;

use super::{BUNDLES, Bundle, Frame, FrameGroup, GroupId, MAX_BUNDLE_GROUPS, RootBits};
use crate::ledger::{Change, LedgerEntry};
use crate::value::{ValueFault, check_row_of};

/// The longest frame: one row of 16 MiB values and what belongs to it.
pub const MAX_FRAME_BYTES: usize = 24 << 20;

const LONG_ROW: u8 = 255;
const GROUP_BYTES: usize = 48;
const ENTRY_BYTES: usize = 1 + GROUP_BYTES + 8;

/// Why bytes are no frame or no entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum WireFault {
    /// The bytes end too early.
    #[error("it ends too early")]
    Truncated,
    /// There are bytes left over.
    #[error("it is longer than its parts")]
    LeftOver,
    /// It is longer than a frame may be.
    #[error("it is {0} bytes long, and {MAX_FRAME_BYTES} are the most")]
    TooLong(usize),
    /// A stream that the topology does not have.
    #[error("there is no stream {0}")]
    UnknownStream(u16),
    /// A number of groups that cannot be.
    #[error("it has {0} groups, and {MAX_BUNDLE_GROUPS} are the most")]
    TooManyGroups(usize),
    /// Rows and lineage do not fit together.
    #[error("its lineage does not fit its rows and groups")]
    WrongLineage,
    /// A row is wrong.
    #[error("row {row}: {fault}")]
    WrongRow {
        /// Which row.
        row: usize,
        /// What is wrong with it.
        fault: ValueFault,
    },
    /// An entry of an unknown kind.
    #[error("there is no kind {0} of entries")]
    UnknownEntry(u8),
}

/// Appends a frame for task `target`.
pub fn encode(frame: &Frame, target: u32, out: &mut Vec<u8>) {
    let start = out.len();
    out.reserve(frame.data.len() + 2 * frame.rows() + GROUP_BYTES * frame.groups.len() + 64);
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&frame.id.to_le_bytes());
    out.extend_from_slice(&target.to_le_bytes());
    out.extend_from_slice(&frame.source.to_le_bytes());
    out.extend_from_slice(&frame.stream.to_le_bytes());
    out.extend_from_slice(&(frame.rows() as u16).to_le_bytes());
    out.extend_from_slice(&(frame.groups.len() as u16).to_le_bytes());
    for held in &frame.groups {
        encode_group(held.group, held.roots, out);
    }
    out.extend_from_slice(&(frame.bundles.len() as u16).to_le_bytes());
    for bundle in &frame.bundles {
        out.extend_from_slice(&(bundle.len() as u16).to_le_bytes());
        for &(ordinal, root) in bundle {
            out.extend_from_slice(&ordinal.to_le_bytes());
            out.push(root);
        }
    }
    let lineage_at = out.len();
    out.extend_from_slice(&[0; 4]);
    encode_lineage(&frame.lineage, out);
    let lineage = (out.len() - lineage_at - 4) as u32;
    out[lineage_at..lineage_at + 4].copy_from_slice(&lineage.to_le_bytes());
    let mut before = 0;
    for &end in &frame.ends {
        let length = end - before;
        before = end;
        if length < u32::from(LONG_ROW) {
            out.push(length as u8);
        } else {
            out.push(LONG_ROW);
            out.extend_from_slice(&length.to_le_bytes());
        }
    }
    out.extend_from_slice(&frame.data);
    let length = (out.len() - start - 4) as u32;
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
}

fn encode_group(group: GroupId, roots: RootBits, out: &mut Vec<u8>) {
    out.extend_from_slice(&group.spout.to_le_bytes());
    out.extend_from_slice(&group.life.to_le_bytes());
    out.extend_from_slice(&group.sequence.to_le_bytes());
    for word in roots {
        out.extend_from_slice(&word.to_le_bytes());
    }
}

fn encode_lineage(lineage: &[u16], out: &mut Vec<u8>) {
    // A run never goes over the last root of a group into the next ordinal.
    for run in lineage.chunk_by(|a, b| a.wrapping_add(1) == *b && b & 0xff != 0) {
        out.extend_from_slice(&(run.len() as u16).to_le_bytes());
        out.extend_from_slice(&run[0].to_le_bytes());
    }
}

/// Takes a frame from the start of `input`, with the task that it is for.
///
/// `fields` gives the number of fields of a stream's rows, or `None` if there is no such stream.
///
/// # Errors
/// The first thing that is wrong with it. Then `input` is of no more use.
pub fn decode(input: &mut &[u8], fields: impl Fn(u16) -> Option<usize>) -> Result<(u32, Frame), WireFault> {
    let length = u32::from_le_bytes(take(input)?) as usize;
    if length > MAX_FRAME_BYTES {
        return Err(WireFault::TooLong(length));
    }
    let (mut body, rest) = input.split_at_checked(length).ok_or(WireFault::Truncated)?;
    *input = rest;
    let body = &mut body;
    let id = u64::from_le_bytes(take(body)?);
    let target = u32::from_le_bytes(take(body)?);
    let source = u32::from_le_bytes(take(body)?);
    let stream = u16::from_le_bytes(take(body)?);
    let rows = usize::from(u16::from_le_bytes(take(body)?));
    let groups = usize::from(u16::from_le_bytes(take(body)?));
    let fields = fields(stream).ok_or(WireFault::UnknownStream(stream))?;
    let groups = decode_groups(body, groups)?;
    let bundles = decode_bundles(body, rows)?;
    let lineage_length = u32::from_le_bytes(take(body)?) as usize;
    let (lineage, rest) = body
        .split_at_checked(lineage_length)
        .ok_or(WireFault::Truncated)?;
    *body = rest;
    let lineage = decode_lineage(lineage, rows, &groups, &bundles)?;
    let ends = decode_ends(body, rows)?;
    let data = body.to_vec();
    if ends.last().map_or(0, |&end| end as usize) != data.len() {
        return Err(if ends.last().is_some_and(|&end| end as usize > data.len()) {
            WireFault::Truncated
        } else {
            WireFault::LeftOver
        });
    }
    // Looked at once for the whole frame: so much faster than text by text.
    let is_ascii = data.is_ascii();
    let mut start = 0;
    for (row, &end) in ends.iter().enumerate() {
        check_row_of(&data[start..end as usize], fields, is_ascii)
            .map_err(|fault| WireFault::WrongRow { row, fault })?;
        start = end as usize;
    }
    Ok((
        target,
        Frame {
            id,
            stream,
            source,
            data,
            ends,
            lineage,
            bundles,
            groups,
        },
    ))
}

fn decode_groups(body: &mut &[u8], count: usize) -> Result<Vec<FrameGroup>, WireFault> {
    if count > MAX_BUNDLE_GROUPS {
        return Err(WireFault::TooManyGroups(count));
    }
    if body.len() < count * GROUP_BYTES {
        return Err(WireFault::Truncated);
    }
    (0..count).map(|_| decode_group(body)).collect()
}

fn decode_group(body: &mut &[u8]) -> Result<FrameGroup, WireFault> {
    let group = GroupId {
        spout: u32::from_le_bytes(take(body)?),
        life: u32::from_le_bytes(take(body)?),
        sequence: u64::from_le_bytes(take(body)?),
    };
    let mut roots = [0; 4];
    for word in &mut roots {
        *word = u64::from_le_bytes(take(body)?);
    }
    Ok(FrameGroup { group, roots })
}

fn decode_bundles(body: &mut &[u8], rows: usize) -> Result<Vec<Bundle>, WireFault> {
    let count = usize::from(u16::from_le_bytes(take(body)?));
    if count > rows || count > usize::from(u16::MAX - BUNDLES) {
        return Err(WireFault::WrongLineage);
    }
    let mut bundles = Vec::new();
    for _ in 0..count {
        let roots = usize::from(u16::from_le_bytes(take(body)?));
        if body.len() < 3 * roots {
            return Err(WireFault::Truncated);
        }
        let mut bundle = Bundle::with_capacity(roots);
        for _ in 0..roots {
            bundle.push((u16::from_le_bytes(take(body)?), u8::from_le_bytes(take(body)?)));
        }
        bundles.push(bundle);
    }
    Ok(bundles)
}

/// The lineage of all rows. Each must be in its group's set of roots, and each root of a set must have a row.
fn decode_lineage(
    mut runs: &[u8],
    rows: usize,
    groups: &[FrameGroup],
    bundles: &[Bundle],
) -> Result<Vec<u16>, WireFault> {
    if groups.is_empty() {
        return if runs.is_empty() && bundles.is_empty() {
            Ok(Vec::new())
        } else {
            Err(WireFault::WrongLineage)
        };
    }
    let mut lineage = Vec::new();
    let mut seen = vec![[0u64; 4]; groups.len()];
    let mut next_bundle = bundles.iter();
    while !runs.is_empty() {
        let count = usize::from(u16::from_le_bytes(take(&mut runs)?));
        let first = u16::from_le_bytes(take(&mut runs)?);
        let (ordinal, root) = (usize::from(first >> 8), usize::from(first & 0xff));
        if count == 0 || root + count > 256 || lineage.len() + count > rows {
            return Err(WireFault::WrongLineage);
        }
        if first >= BUNDLES {
            // Each bundle once and in order, so that a short frame cannot make long work.
            if usize::from(first - BUNDLES) != bundles.len() - next_bundle.len() {
                return Err(WireFault::WrongLineage);
            }
            for _ in 0..count {
                let bundle = next_bundle.next().ok_or(WireFault::WrongLineage)?;
                for &(ordinal, root) in bundle {
                    let seen = seen
                        .get_mut(usize::from(ordinal))
                        .ok_or(WireFault::WrongLineage)?;
                    seen[usize::from(root >> 6)] |= 1 << (root & 63);
                }
            }
            lineage.extend((0..count as u16).map(|next| first + next));
            continue;
        }
        let seen = seen.get_mut(ordinal).ok_or(WireFault::WrongLineage)?;
        for root in root..root + count {
            seen[root >> 6] |= 1 << (root & 63);
        }
        lineage.extend((0..count as u16).map(|next| first + next));
    }
    let sets_agree = groups.iter().zip(&seen).all(|(held, seen)| held.roots == *seen);
    if lineage.len() == rows && sets_agree && next_bundle.len() == 0 {
        Ok(lineage)
    } else {
        Err(WireFault::WrongLineage)
    }
}

fn decode_ends(body: &mut &[u8], rows: usize) -> Result<Vec<u32>, WireFault> {
    if body.len() < rows {
        return Err(WireFault::Truncated);
    }
    let mut ends = Vec::with_capacity(rows);
    let mut end = 0u32;
    let (lengths, rest) = body.split_at(rows);
    if !lengths.contains(&LONG_ROW) {
        // At most 65,535 rows below 255 bytes: no overflow.
        ends.extend(lengths.iter().map(|&length| {
            end += u32::from(length);
            end
        }));
        *body = rest;
        return Ok(ends);
    }
    for _ in 0..rows {
        let [short] = take(body)?;
        let length = if short == LONG_ROW {
            u32::from_le_bytes(take(body)?)
        } else {
            u32::from(short)
        };
        end = end.checked_add(length).ok_or(WireFault::Truncated)?;
        ends.push(end);
    }
    Ok(ends)
}

/// Appends ledger entries.
pub fn encode_entries(entries: &[LedgerEntry], out: &mut Vec<u8>) {
    out.reserve(ENTRY_BYTES * entries.len());
    for entry in entries {
        let (kind, id) = match entry.change {
            Change::Xor(id) => (0, id),
            Change::Fail => (1, 0),
            Change::Renew => (2, 0),
        };
        out.push(kind);
        encode_group(entry.group, entry.roots, out);
        out.extend_from_slice(&id.to_le_bytes());
    }
}

/// Takes ledger entries until the input ends.
///
/// # Errors
/// If the input is not made of entries.
pub fn decode_entries(mut input: &[u8]) -> Result<Vec<LedgerEntry>, WireFault> {
    let mut entries = Vec::with_capacity(input.len() / ENTRY_BYTES);
    while !input.is_empty() {
        let [kind] = take(&mut input)?;
        let FrameGroup { group, roots } = decode_group(&mut input)?;
        let id = u64::from_le_bytes(take(&mut input)?);
        let change = match kind {
            0 => Change::Xor(id),
            1 => Change::Fail,
            2 => Change::Renew,
            unknown => return Err(WireFault::UnknownEntry(unknown)),
        };
        entries.push(LedgerEntry { group, roots, change });
    }
    Ok(entries)
}

fn take<const N: usize>(input: &mut &[u8]) -> Result<[u8; N], WireFault> {
    let (taken, rest) = input.split_first_chunk::<N>().ok_or(WireFault::Truncated)?;
    *input = rest;
    Ok(*taken)
}

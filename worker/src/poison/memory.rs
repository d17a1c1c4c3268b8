//! The two things that need `unsafe`: memory that is shared with the next process, and handlers of signals.

use std::fs::File;
use std::num::NonZeroUsize;
use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;

use nix::libc;
use nix::sys::mman::{MapFlags, ProtFlags, mmap};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

use super::{Cause, mark_here};

/// Signals that a thread gets for what it did itself.
const CRASHES: [Signal; 5] = [
    Signal::SIGABRT,
    Signal::SIGSEGV,
    Signal::SIGBUS,
    Signal::SIGILL,
    Signal::SIGFPE,
];

/// What was to be done about them before.
static BEFORE: [OnceLock<SigAction>; CRASHES.len()] = [const { OnceLock::new() }; CRASHES.len()];

/// Maps `words` words of a file, from word `from` on, which must be at a page's start. They stay for as long as the process.
///
/// # Errors
/// If the file is shorter, or the system refuses.
pub(super) fn map(file: &File, from: usize, words: NonZeroUsize) -> std::io::Result<&'static [AtomicU64]> {
    let bytes = words.saturating_mul(NonZeroUsize::MIN.saturating_add(7));
    let offset = from.saturating_mul(8);
    let is_there = file.metadata()?.len() >= (offset + bytes.get()) as u64;
    let offset = i64::try_from(offset).ok().filter(|_| is_there);
    let offset = offset.ok_or(std::io::ErrorKind::UnexpectedEof)?;
    let (protection, flags) = (ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, MapFlags::MAP_SHARED);
    // SAFETY: the kernel chooses a place that nothing else has. It is never unmapped, so `'static` holds; it starts at a
    // page, so it is aligned; any bits are a word; others that map the file, too, are other processes, and atomics are all
    // that anybody here reads or writes it by. The parent process, which holds the file, never shortens it.
    #[expect(
        unsafe_code,
        reason = "memory that outlives the process cannot be had otherwise"
    )]
    unsafe {
        let start = mmap(None, bytes, protection, flags, file, offset)?;
        Ok(std::slice::from_raw_parts(start.cast().as_ptr(), words.get()))
    }
}

/// From now on a thread that crashes marks the tuple that it is at, before the process ends as it would have.
///
/// # Errors
/// If the system refuses.
pub(crate) fn mark_crashes() -> std::io::Result<()> {
    // On the stack that a thread has for this, since its own may be at its end; once, so that the default comes after.
    let flags = SaFlags::SA_ONSTACK | SaFlags::SA_RESETHAND | SaFlags::SA_SIGINFO;
    let action = SigAction::new(SigHandler::SigAction(crashed), flags, SigSet::empty());
    for (signal, before) in CRASHES.into_iter().zip(&BEFORE) {
        // SAFETY: the handler does only what may be done in one: it reads a thread-local that needs no set-up and a word
        // that was written before, stores to an atomic, and calls the handler that was there before.
        #[expect(unsafe_code, reason = "a stack that overflows is told by a signal only")]
        let was = unsafe { sigaction(signal, &action) }?;
        // A second call keeps what was there first.
        let _ = before.set(was);
    }
    Ok(())
}

extern "C" fn crashed(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    mark_here(Cause::Crashed);
    let known = CRASHES.iter().position(|&known| known as libc::c_int == signal);
    let before = known.and_then(|at| BEFORE[at].get());
    match before.map(SigAction::handler) {
        Some(SigHandler::SigAction(handler)) => handler(signal, info, context),
        Some(SigHandler::Handler(handler)) => handler(signal),
        // What crashed crashes again on return, and now that ends the process.
        _ => {}
    }
}

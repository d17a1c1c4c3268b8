//! Where one message of a program ends and the next begins.
//!
//! Owns: the three ways to tell. Leaves to others: what a message says. Pure. Invariants: each byte is looked at a bounded
//! number of times, however the bytes arrive; a message that is too long is refused before it is kept.

use super::codec::{Fault, PackSkip};

/// The largest message, in bytes.
pub(super) const MAX_MESSAGE: usize = 64 << 20;

/// How messages are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// Four bytes of length, little-endian, before each.
    Lengths,
    /// A line `end` behind each.
    EndLines,
    /// Each is one MessagePack value.
    Values,
}

/// What a program wrote and was not taken yet.
#[derive(Debug)]
pub(super) struct Incoming {
    framing: Framing,
    bytes: Vec<u8>,
    /// Where the next message begins.
    start: usize,
    /// Up to where it was looked at.
    seen: usize,
    skip: PackSkip,
}

/// Why what a program wrote is no message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum FramingFault {
    /// It is too long.
    #[error("it wrote a message of more than 64 MiB")]
    TooLong,
    /// It is no MessagePack.
    #[error("it wrote what is no MessagePack")]
    NoValue,
}

impl Framing {
    /// Adds what tells a message from the next one.
    pub(super) fn close(self, message: &mut Vec<u8>) {
        match self {
            // `open` left room for the length.
            Self::Lengths => {
                let length = (message.len() - 4) as u32;
                message[..4].copy_from_slice(&length.to_le_bytes());
            }
            Self::EndLines => message.extend_from_slice(b"\nend\n"),
            Self::Values => {}
        }
    }

    /// An empty message, with room for a length.
    pub(super) fn open(self) -> Vec<u8> {
        match self {
            Self::Lengths => vec![0; 4],
            Self::EndLines | Self::Values => Vec::new(),
        }
    }
}

impl Incoming {
    /// Nothing yet.
    pub(super) fn new(framing: Framing) -> Self {
        Self {
            framing,
            bytes: Vec::new(),
            start: 0,
            seen: 0,
            skip: PackSkip::default(),
        }
    }

    /// Where what comes next is to be appended.
    pub(super) fn buffer(&mut self) -> &mut Vec<u8> {
        if self.start > 0 {
            self.bytes.drain(..self.start);
            self.seen -= self.start;
            self.start = 0;
        }
        &mut self.bytes
    }

    /// The next message that is whole.
    ///
    /// # Errors
    /// If there can be none.
    pub(super) fn next(&mut self) -> Result<Option<Vec<u8>>, FramingFault> {
        let rest = &self.bytes[self.start..];
        let found = match self.framing {
            Framing::Lengths => match rest.split_first_chunk::<4>() {
                None => None,
                Some((length, rest)) => {
                    let length = u32::from_le_bytes(*length) as usize;
                    if length > MAX_MESSAGE {
                        return Err(FramingFault::TooLong);
                    }
                    (rest.len() >= length).then_some((4, length, 4 + length))
                }
            },
            Framing::EndLines => {
                // The line before may end in the part that was looked at.
                let from = (self.seen - self.start).saturating_sub(5);
                let end = memchr::memmem::find(&rest[from..], b"\nend\n").map(|at| from + at);
                end.map(|end| (0, end, end + 5))
            }
            Framing::Values => match self.skip.go_on(rest) {
                Ok(length) => Some((0, length, length)),
                Err(Fault::Truncated) => None,
                Err(_) => return Err(FramingFault::NoValue),
            },
        };
        match found {
            Some((from, length, behind)) => {
                let message = rest[from..from + length].to_vec();
                self.start += behind;
                self.seen = self.start;
                self.skip = PackSkip::default();
                Ok(Some(message))
            }
            None if rest.len() > MAX_MESSAGE + 5 => Err(FramingFault::TooLong),
            None => {
                self.seen = self.bytes.len();
                Ok(None)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn messages(framing: Framing, bytes: &[u8], piece: usize) -> Vec<Vec<u8>> {
        let mut incoming = Incoming::new(framing);
        let mut all = Vec::new();
        for piece in bytes.chunks(piece) {
            incoming.buffer().extend_from_slice(piece);
            while let Some(message) = incoming.next().expect("well formed") {
                all.push(message);
            }
        }
        all
    }

    #[test]
    fn messages_are_told_apart_however_their_bytes_arrive() {
        let mut lengths = Vec::new();
        for text in [&b"one"[..], b"", b"three"] {
            let mut message = Framing::Lengths.open();
            message.extend_from_slice(text);
            Framing::Lengths.close(&mut message);
            lengths.extend(message);
        }
        for piece in [1, 2, 3, 5, 100] {
            assert_eq!(
                messages(Framing::Lengths, &lengths, piece),
                [&b"one"[..], b"", b"three"]
            );
            assert_eq!(
                messages(Framing::EndLines, b"{\n}\nend\n[]\nend\nx\nen", piece),
                [&b"{\n}"[..], b"[]"]
            );
            assert_eq!(
                messages(
                    Framing::Values,
                    &[1, 0x92, 0xa2, b'h', b'i', 0x81, 0xa1, b'k', 2, 0x93],
                    piece
                ),
                [&[1][..], &[0x92, 0xa2, b'h', b'i', 0x81, 0xa1, b'k', 2]]
            );
        }
    }

    #[test]
    fn a_message_that_is_too_long_is_refused_by_its_length() {
        let mut incoming = Incoming::new(Framing::Lengths);
        incoming.buffer().extend_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(incoming.next(), Err(FramingFault::TooLong));
        let mut incoming = Incoming::new(Framing::Values);
        incoming.buffer().push(0xc1);
        assert_eq!(incoming.next(), Err(FramingFault::NoValue));
    }

    proptest! {
        /// Random bytes with what ends a message among them.
        #[test]
        fn however_bytes_arrive_they_are_the_same_messages_and_no_more_is_kept_than_came(
            parts in prop::collection::vec(
                prop_oneof![
                    prop::collection::vec(any::<u8>(), 0..30),
                    Just(b"\nend\n".to_vec()),
                    Just(vec![3, 0, 0, 0, b'a', b'b', b'c']),
                    Just(vec![0x92, 0xa1, b'x', 0xc0]),
                ],
                0..12,
            ),
            size in 1usize..40,
        ) {
            let bytes = parts.concat();
            for framing in [Framing::Lengths, Framing::EndLines, Framing::Values] {
                let take = |piece: usize| {
                    let mut incoming = Incoming::new(framing);
                    let mut all = Vec::new();
                    for piece in bytes.chunks(piece.max(1)) {
                        incoming.buffer().extend_from_slice(piece);
                        loop {
                            match incoming.next() {
                                Ok(Some(message)) => all.push(Ok(message)),
                                Ok(None) => break,
                                Err(fault) => {
                                    all.push(Err(fault));
                                    return (all, incoming.bytes.len());
                                }
                            }
                        }
                    }
                    (all, incoming.bytes.len())
                };
                let (whole, kept) = take(bytes.len());
                prop_assert!(kept <= bytes.len());
                let taken: usize = whole.iter().flatten().map(Vec::len).sum();
                prop_assert!(taken <= bytes.len());
                let (pieces, _) = take(size);
                prop_assert_eq!(pieces, whole);
            }
        }
    }

    #[test]
    fn fuzz_framing() {
        waterspout_fuzz::fuzz("framing", |bytes| {
            let ways = [Framing::Lengths, Framing::EndLines, Framing::Values];
            ways.map(|framing| {
                let mut incoming = Incoming::new(framing);
                let mut taken = 0;
                for piece in bytes.chunks(1 + bytes.len() / 3) {
                    incoming.buffer().extend_from_slice(piece);
                    loop {
                        match incoming.next() {
                            Ok(Some(message)) => taken += message.len() + 1,
                            Ok(None) => break,
                            Err(_) => return (true, 0),
                        }
                    }
                }
                // No byte is in two messages.
                assert!(taken <= 2 * bytes.len());
                (false, taken.min(64))
            })
        });
    }
}

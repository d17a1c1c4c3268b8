//! Short runs of bytes, without a call to `memcpy` or `memcmp`: most fields and rows are shorter than 17 bytes.

/// The longest run, in bytes.
pub const SMALL: usize = 16;

/// Up to [`SMALL`] bytes as one number, little-endian, the rest zero. Longer input is cut off.
#[inline]
pub fn load_small(bytes: &[u8]) -> u128 {
    let length = bytes.len();
    if let (Some(first), Some(last)) = (bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) {
        let low = u64::from_le_bytes(*first);
        // The two reads overlap; what is in both is shifted out of the second.
        let unused = 8 * SMALL.saturating_sub(length) as u32;
        let high = u64::from_le_bytes(*last).checked_shr(unused).unwrap_or(0);
        return u128::from(low) | u128::from(high) << 64;
    }
    if let (Some(first), Some(last)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        let low = u32::from_le_bytes(*first);
        let high = u32::from_le_bytes(*last)
            .checked_shr(8 * (8 - length as u32))
            .unwrap_or(0);
        return u128::from(u64::from(low) | u64::from(high) << 32);
    }
    bytes
        .iter()
        .rev()
        .fold(0, |number, &byte| number << 8 | u128::from(byte))
}

/// Appends bytes; short runs take a fixed number of instructions.
#[inline]
pub fn append_small(data: &mut Vec<u8>, bytes: &[u8]) {
    if bytes.len() <= SMALL {
        let end = data.len() + bytes.len();
        data.extend_from_slice(&load_small(bytes).to_le_bytes());
        data.truncate(end);
    } else {
        data.extend_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_runs_are_loaded_and_appended_whole() {
        let bytes: Vec<u8> = (1..=40).collect();
        for length in 0..=40 {
            let mut data = vec![99];
            append_small(&mut data, &bytes[..length]);
            assert_eq!(data[1..], bytes[..length]);
            if length <= SMALL {
                let mut expected = [0; SMALL];
                expected[..length].copy_from_slice(&bytes[..length]);
                assert_eq!(load_small(&bytes[..length]), u128::from_le_bytes(expected));
            }
        }
    }
}

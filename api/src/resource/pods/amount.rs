//! Amounts of a resource, as Kubernetes writes them (`500m`, `2`, `512Mi`).
//!
//! Owns: reading them, comparing them, and the one way in which the API server writes each. Leaves to others: which are asked
//! for. Pure.

/// What an amount looks like, as a regular expression. [`parse`] takes the same texts.
pub const PATTERN: &str = "^([0-9]{1,12}(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?|[0-9]{1,9}[.][0-9]{1,3})$";

const DECIMAL: [&str; 8] = ["m", "", "k", "M", "G", "T", "P", "E"];
const BINARY: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];

/// An amount: so many units of a power of 1000, the first of which is a thousandth, or of 1024.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Amount {
    count: u128,
    power: usize,
    is_binary: bool,
}

fn read(text: &str) -> Option<Amount> {
    let digits_in = |text: &str, most: usize| {
        let fits = (1..=most).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
        fits.then(|| text.parse::<u128>().ok()).flatten()
    };
    if let Some((whole, part)) = text.split_once('.') {
        let thousandths = digits_in(part, 3)? * 10u128.pow(3 - u32::try_from(part.len()).ok()?);
        return Some(Amount {
            count: digits_in(whole, 9)? * 1000 + thousandths,
            power: 0,
            is_binary: false,
        });
    }
    let end = text
        .find(|character: char| !character.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    let count = digits_in(digits, 12)?;
    if let Some(power) = BINARY[1..6].iter().position(|known| *known == unit) {
        return Some(Amount {
            count,
            power: power + 1,
            is_binary: true,
        });
    }
    let power = DECIMAL[..7].iter().position(|known| *known == unit)?;
    Some(Amount {
        count,
        power,
        is_binary: false,
    })
}

/// An amount in thousandths, if a text is one.
#[must_use]
pub fn parse(text: &str) -> Option<u128> {
    let amount = read(text)?;
    let power = u32::try_from(amount.power).ok()?;
    Some(if amount.is_binary {
        amount.count * 1000 * 1024u128.pow(power)
    } else {
        amount.count * 1000u128.pow(power)
    })
}

/// The same amount as the API server writes it; a text that is none stays as it is.
#[must_use]
pub fn canonical(text: &str) -> String {
    let Some(mut amount) = read(text) else {
        return text.to_owned();
    };
    if amount.count == 0 {
        return "0".to_owned();
    }
    let (base, units) = if amount.is_binary {
        (1024, &BINARY[..])
    } else {
        (1000, &DECIMAL[..])
    };
    while amount.count.is_multiple_of(base) && amount.power + 1 < units.len() {
        amount.count /= base;
        amount.power += 1;
    }
    format!("{}{}", amount.count, units[amount.power])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_and_written_as_the_api_server_does() {
        for (text, thousandths, written) in [
            ("0", 0, "0"),
            ("0Mi", 0, "0"),
            ("1", 1_000, "1"),
            ("0.5", 500, "500m"),
            ("1.50", 1_500, "1500m"),
            ("2.0", 2_000, "2"),
            ("1000m", 1_000, "1"),
            ("1500m", 1_500, "1500m"),
            ("2000", 2_000_000, "2k"),
            ("1000P", 1_000_000_000_000_000_000_000, "1E"),
            ("512Mi", 536_870_912_000, "512Mi"),
            ("1024Mi", 1_073_741_824_000, "1Gi"),
            ("1000Ki", 1_024_000_000, "1000Ki"),
        ] {
            assert_eq!(
                (parse(text), canonical(text)),
                (Some(thousandths), written.to_owned())
            );
        }
        for wrong in [
            "",
            "m",
            "1.5Gi",
            "-1",
            "+1",
            "1e3",
            "1 Gi",
            "1.",
            ".5",
            "1.1234",
            "1234567890123",
            "1E",
            "1mi",
            "５",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}

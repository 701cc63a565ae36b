//! Deltas: an object as copies from another one and new bytes (gitformat-pack(5), "Deltified representation").

/// The sizes that a delta begins with: of its base, and of what it makes.
pub fn sizes(delta: &[u8]) -> Option<(u64, u64, &[u8])> {
    let (base, rest) = size(delta)?;
    let (result, rest) = size(rest)?;
    Some((base, result, rest))
}

fn size(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0_u64;
    for (n, byte) in bytes.iter().enumerate().take(9) {
        value |= u64::from(byte & 0x7f) << (7 * n);
        if byte & 0x80 == 0 {
            return Some((value, &bytes[n + 1..]));
        }
    }
    None
}

/// Makes the object. `most` is the most that it may have.
pub fn apply(base: &[u8], delta: &[u8], most: u64) -> Result<Vec<u8>, &'static str> {
    let (from, to, mut rest) = sizes(delta).ok_or("no sizes")?;
    if from != base.len() as u64 {
        return Err("its base has another size");
    }
    if to > most {
        return Err("it makes more than it may");
    }
    let to = usize::try_from(to).map_err(|_| "it makes more than it may")?;
    // Grown as it fills: what a delta claims is no reason to allocate.
    let mut made = Vec::with_capacity(to.min(base.len() + delta.len()));
    while let Some((&command, after)) = rest.split_first() {
        rest = after;
        let bytes = match command {
            0 => return Err("a command that is reserved"),
            1..=0x7f => {
                let (new, after) = rest.split_at_checked(usize::from(command)).ok_or("it ends in the middle")?;
                rest = after;
                new
            }
            _ => {
                let mut number = |bits: std::ops::Range<u32>| {
                    let mut value = 0_usize;
                    for (n, bit) in bits.enumerate() {
                        if command >> bit & 1 == 1 {
                            let (&byte, after) = rest.split_first().ok_or("it ends in the middle")?;
                            rest = after;
                            value |= usize::from(byte) << (8 * n);
                        }
                    }
                    Ok::<_, &'static str>(value)
                };
                let offset = number(0..4)?;
                let size = match number(4..7)? {
                    0 => 0x10000,
                    size => size,
                };
                base.get(offset..offset + size).ok_or("it copies what its base does not have")?
            }
        };
        if made.len() + bytes.len() > to {
            return Err("it makes more than it says");
        }
        made.extend_from_slice(bytes);
    }
    if made.len() == to { Ok(made) } else { Err("it makes less than it says") }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn copies_and_new_bytes_make_the_object() {
        // base 6, result 9: copy 3 from 2, "xyz", copy 3 from 0.
        let delta = [6, 9, 0x91, 2, 3, 3, b'x', b'y', b'z', 0x90, 3];
        assert_eq!(apply(b"abcdef", &delta, 100), Ok(b"cdexyzabc".to_vec()));
    }

    #[test]
    fn a_delta_that_lies_is_refused() {
        for (delta, why) in [
            (&[7, 1, 1, b'x'][..], "its base has another size"),
            (&[6, 1, 0], "a command that is reserved"),
            (&[6, 1, 2, b'x'], "it ends in the middle"),
            (&[6, 1, 0x91], "it ends in the middle"),
            (&[6, 3, 0x91, 5, 3], "it copies what its base does not have"),
            (&[6, 1, 0x80], "it copies what its base does not have"),
            (&[6, 1, 2, b'x', b'y'], "it makes more than it says"),
            (&[6, 2, 1, b'x'], "it makes less than it says"),
            (&[6, 0x80, 0x80, 0x80, 0x80, 0x10, 1, b'x'], "it makes more than it may"),
            (&[6], "no sizes"),
            (&[0xff; 12], "no sizes"),
        ] {
            assert_eq!(apply(b"abcdef", delta, 1000), Err(why), "{delta:?}");
        }
    }

    proptest! {
        #[test]
        fn any_delta_is_applied_within_its_bound_or_refused(
            base in proptest::collection::vec(any::<u8>(), 0..64),
            noise in proptest::collection::vec(any::<u8>(), 0..64),
        ) {
            let mut delta = vec![base.len() as u8, 40];
            delta.extend(noise);
            if let Ok(made) = apply(&base, &delta, 100) {
                prop_assert_eq!(made.len(), 40);
            }
        }
    }
}

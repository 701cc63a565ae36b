//! Deltas: an object as copies from another one and new bytes (gitformat-pack(5), "Deltified representation").

/// The sizes at the start of a delta: of its base and of its result; and the rest.
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

/// Applies a delta, to at most `max` bytes.
pub fn apply(base: &[u8], delta: &[u8], max: u64) -> Result<Vec<u8>, &'static str> {
    let (from, to, mut rest) = sizes(delta).ok_or("no sizes")?;
    if from != base.len() as u64 {
        return Err("its base has another size");
    }
    if to > max {
        return Err("its result is too large");
    }
    let to = usize::try_from(to).map_err(|_| "its result is too large")?;
    // Grown as it fills, because the claimed size is not trusted.
    let mut object = Vec::with_capacity(to.min(base.len() + delta.len()));
    while let Some((&command, after)) = rest.split_first() {
        rest = after;
        let bytes = match command {
            0 => return Err("a reserved command"),
            1..=0x7f => {
                let (new, after) = rest.split_at_checked(usize::from(command)).ok_or("it is truncated")?;
                rest = after;
                new
            }
            _ => {
                let mut number = |bits: std::ops::Range<u32>| {
                    let mut value = 0_usize;
                    for (n, bit) in bits.enumerate() {
                        if command >> bit & 1 == 1 {
                            let (&byte, after) = rest.split_first().ok_or("it is truncated")?;
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
                base.get(offset..offset + size).ok_or("it copies from beyond its base")?
            }
        };
        if object.len() + bytes.len() > to {
            return Err("its result is larger than it claims");
        }
        object.extend_from_slice(bytes);
    }
    if object.len() == to { Ok(object) } else { Err("its result is smaller than it claims") }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn copies_and_new_bytes_build_the_object() {
        // base 6, result 9: copy 3 from 2, "xyz", copy 3 from 0.
        let delta = [6, 9, 0x91, 2, 3, 3, b'x', b'y', b'z', 0x90, 3];
        assert_eq!(apply(b"abcdef", &delta, 100), Ok(b"cdexyzabc".to_vec()));
    }

    #[test]
    fn a_delta_that_lies_is_refused() {
        for (delta, why) in [
            (&[7, 1, 1, b'x'][..], "its base has another size"),
            (&[6, 1, 0], "a reserved command"),
            (&[6, 1, 2, b'x'], "it is truncated"),
            (&[6, 1, 0x91], "it is truncated"),
            (&[6, 3, 0x91, 5, 3], "it copies from beyond its base"),
            (&[6, 1, 0x80], "it copies from beyond its base"),
            (&[6, 1, 2, b'x', b'y'], "its result is larger than it claims"),
            (&[6, 2, 1, b'x'], "its result is smaller than it claims"),
            (&[6, 0x80, 0x80, 0x80, 0x80, 0x10, 1, b'x'], "its result is too large"),
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
            if let Ok(object) = apply(&base, &delta, 100) {
                prop_assert_eq!(object.len(), 40);
            }
        }
    }
}

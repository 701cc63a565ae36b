//! The first reading of a pack, from front to end, while it arrives.

use gix_hash::ObjectId;

use super::inflate::Inflater;
use super::source::{Reader, Source};
use super::{Bounds, Hashing, Kind, Look, Place, Unsound};

/// One entry, as far as a second reading needs it.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Where it begins.
    pub at: u64,
    /// Where its compressed bytes begin.
    pub data: u64,
    /// Inflated bytes: of the object, or of the delta.
    pub size: u64,
    /// What it is.
    pub what: What,
}

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// An object of its own.
    Object(Kind, ObjectId),
    /// A delta upon the entry that begins here.
    Upon(u64),
    /// A delta upon this object.
    UponId(ObjectId),
}

/// All entries of a pack, in order.
#[derive(Debug)]
pub struct Entries {
    /// In the order of their offsets.
    pub entries: Vec<Entry>,
    /// SHA-256 of the whole pack, in hexadecimal.
    pub sha256: String,
    /// Bytes of the objects that stood for themselves.
    pub inflated: u64,
}

/// Reads a pack that may still be arriving. `number` is told how many entries it claims.
pub fn read<S: Source + ?Sized>(
    source: &S,
    bounds: &Bounds,
    look: &mut impl Look,
    mut number: impl FnMut(u64, u64),
) -> Result<Entries, Unsound> {
    let mut reader = Reader::hashing(source);
    if reader.array()? != *b"PACK" || u32::from_be_bytes(reader.array()?) != 2 {
        return Err(Unsound::NotAPack);
    }
    let count = u64::from(u32::from_be_bytes(reader.array()?));
    if count > bounds.objects {
        return Err(Unsound::TooLarge("objects in the pack", bounds.objects));
    }
    let mut inflater = Inflater::default();
    // An entry takes at least ten bytes: what is claimed is believed when it has arrived.
    let mut entries: Vec<Entry> = Vec::new();
    let mut inflated = 0;
    for index in 0..count {
        number(index, count);
        let entry = head(&mut reader)?;
        inflated += entry.size;
        if inflated > bounds.inflated {
            return Err(Unsound::TooLarge("bytes of all objects together", bounds.inflated));
        }
        let place = Place { entry: u32::try_from(index).unwrap_or(u32::MAX), data: Some(entry.data) };
        let what = match entry.what {
            What::Object(kind, _) => {
                let mut hashing = Hashing::new(kind, entry.size);
                look.begin(kind, entry.size)?;
                inflater.run(&mut reader, entry.size, |piece| {
                    hashing.update(piece);
                    look.piece(piece)
                })?;
                let id = hashing.finish()?;
                look.end(id, place, None)?;
                What::Object(kind, id)
            }
            delta => {
                if entry.size > bounds.delta {
                    return Err(Unsound::TooLarge("bytes of a delta", bounds.delta));
                }
                inflater.run(&mut reader, entry.size, |_| Ok(()))?;
                delta
            }
        };
        entries.push(Entry { what, ..entry });
    }
    number(count, count);
    let sha256 = reader.finish()?.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Entries { entries, sha256, inflated })
}

/// Reads an entry's head: its type and size, and what a delta is upon. Objects get their id later.
fn head<S: Source + ?Sized>(reader: &mut Reader<'_, S>) -> Result<Entry, Unsound> {
    let at = reader.offset();
    let corrupt = |why| Unsound::Entry(at, why);
    let first = reader.byte()?;
    let mut size = u64::from(first & 0x0f);
    let (mut byte, mut shift) = (first, 4);
    while byte & 0x80 != 0 {
        if shift > 53 {
            return Err(corrupt("its size has too many digits"));
        }
        byte = reader.byte()?;
        size |= u64::from(byte & 0x7f) << shift;
        shift += 7;
    }
    let null = ObjectId::null(gix_hash::Kind::Sha1);
    let what = match first >> 4 & 7 {
        1 => What::Object(Kind::Commit, null),
        2 => What::Object(Kind::Tree, null),
        3 => What::Object(Kind::Blob, null),
        4 => What::Object(Kind::Tag, null),
        6 => {
            let mut byte = reader.byte()?;
            let mut back = u64::from(byte & 0x7f);
            while byte & 0x80 != 0 {
                if back >= 1 << 55 {
                    return Err(corrupt("its base has too many digits"));
                }
                byte = reader.byte()?;
                back = (back + 1) << 7 | u64::from(byte & 0x7f);
            }
            What::Upon(at.checked_sub(back).filter(|_| back > 0).ok_or_else(|| corrupt("its base is not before it"))?)
        }
        7 => What::UponId(ObjectId::from(reader.array::<20>()?)),
        _ => return Err(corrupt("it has no type that there is")),
    };
    Ok(Entry { at, data: reader.offset(), size, what })
}

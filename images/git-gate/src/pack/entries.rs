//! The first pass over a pack, front to back, while it arrives.

use gix_hash::ObjectId;

use super::inflate::Inflater;
use super::source::{Reader, Source};
use super::{Bounds, Hashing, Kind, ObjectVisitor, Place, Unsound};

/// One entry, as far as the second pass needs it.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Where it begins.
    pub at: u64,
    /// Where its compressed bytes begin.
    pub data: u64,
    /// The inflated size of the object or delta.
    pub size: u64,
    /// Its kind.
    pub kind: EntryKind,
}

/// The kind of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A whole object.
    Object(Kind, ObjectId),
    /// A delta against the entry at this offset.
    DeltaOn(u64),
    /// A delta against the object with this id.
    DeltaOnId(ObjectId),
}

/// All entries of a pack, in order.
#[derive(Debug)]
pub struct Entries {
    /// In the order of their offsets.
    pub entries: Vec<Entry>,
    /// SHA-256 of the whole pack, in hexadecimal.
    pub sha256: String,
    /// Bytes of all entries, inflated.
    pub inflated: u64,
}

/// Reads a pack that may still be arriving. Calls `progress` with the number of entries read and claimed.
pub fn read<S: Source + ?Sized>(
    source: &S,
    bounds: &Bounds,
    visitor: &mut impl ObjectVisitor,
    mut progress: impl FnMut(u64, u64),
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
    // Not reserved: the claimed count is not trusted.
    let mut entries: Vec<Entry> = Vec::new();
    let mut inflated = 0;
    for index in 0..count {
        progress(index, count);
        let entry = head(&mut reader)?;
        inflated += entry.size;
        if inflated > bounds.inflated {
            return Err(Unsound::TooLarge("bytes of all objects together", bounds.inflated));
        }
        let place = Place { entry: u32::try_from(index).unwrap_or(u32::MAX), data: Some(entry.data) };
        let kind = match entry.kind {
            EntryKind::Object(kind, _) => {
                let mut hashing = Hashing::new(kind, entry.size);
                visitor.begin(kind, entry.size)?;
                inflater.run(&mut reader, entry.size, |chunk| {
                    hashing.update(chunk);
                    visitor.chunk(chunk)
                })?;
                let id = hashing.finish()?;
                visitor.end(id, place, None)?;
                EntryKind::Object(kind, id)
            }
            delta => {
                if entry.size > bounds.delta {
                    return Err(Unsound::TooLarge("bytes of a delta", bounds.delta));
                }
                inflater.run(&mut reader, entry.size, |_| Ok(()))?;
                delta
            }
        };
        entries.push(Entry { kind, ..entry });
    }
    progress(count, count);
    let sha256 = reader.finish()?.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Entries { entries, sha256, inflated })
}

/// Reads an entry's header: type, size and, for a delta, the base. Objects get their id later.
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
    let kind = match first >> 4 & 7 {
        1 => EntryKind::Object(Kind::Commit, null),
        2 => EntryKind::Object(Kind::Tree, null),
        3 => EntryKind::Object(Kind::Blob, null),
        4 => EntryKind::Object(Kind::Tag, null),
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
            EntryKind::DeltaOn(at.checked_sub(back).filter(|_| back > 0).ok_or_else(|| corrupt("its base is not before it"))?)
        }
        7 => EntryKind::DeltaOnId(ObjectId::from(reader.array::<20>()?)),
        _ => return Err(corrupt("its type is unknown")),
    };
    Ok(Entry { at, data: reader.offset(), size, kind })
}

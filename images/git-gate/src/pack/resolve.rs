//! The second reading: what the deltas stand for.
//!
//! Each base is visited once, its children from the smallest family to the largest, and it is dropped before the last of
//! them is visited. So at most the logarithm of their number are held at one time, however the deltas branch; a chain
//! holds two.

use std::collections::HashMap;

use gix_hash::ObjectId;

use super::entries::{Entries, Entry, What};
use super::inflate::Inflater;
use super::source::{Reader, Source};
use super::{Bounds, Hashing, Kind, Look, Place, Unsound, delta};

/// Who is a delta upon whom.
struct Family {
    /// By entry: the deltas upon it by offset, the smallest family first.
    children: HashMap<u32, Vec<u32>>,
    /// By id: the deltas upon it by name.
    by_id: HashMap<ObjectId, Vec<u32>>,
    deltas: u64,
}

impl Family {
    fn of(entries: &[Entry]) -> Result<Self, Unsound> {
        let mut sizes = vec![1_u32; entries.len()];
        let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
        let mut by_id: HashMap<ObjectId, Vec<u32>> = HashMap::new();
        let mut deltas = 0;
        // From the end: a base stands before its deltas, so their families are known when it is added to its own base.
        for (index, entry) in entries.iter().enumerate().rev() {
            let number = u32::try_from(index).unwrap_or(u32::MAX);
            match entry.what {
                What::Object(..) => continue,
                What::Upon(at) => {
                    let no_entry = |_| Unsound::Entry(entry.at, "its base is no entry");
                    let base = entries.binary_search_by_key(&at, |e| e.at).map_err(no_entry)?;
                    sizes[base] = sizes[base].saturating_add(sizes[index]);
                    children.entry(u32::try_from(base).unwrap_or(u32::MAX)).or_default().push(number);
                }
                What::UponId(id) => by_id.entry(id).or_default().push(number),
            }
            deltas += 1;
        }
        for list in children.values_mut() {
            list.sort_by_key(|child| sizes[*child as usize]);
        }
        Ok(Self { children, by_id, deltas })
    }

    /// The deltas upon an object, each handed out once.
    fn of_base(&mut self, entry: u32, id: ObjectId) -> Vec<u32> {
        let mut all = self.by_id.remove(&id).unwrap_or_default();
        all.extend(self.children.remove(&entry).unwrap_or_default());
        all
    }
}

/// A base whose children are being visited.
struct Held {
    object: Vec<u8>,
    kind: Kind,
    children: std::vec::IntoIter<u32>,
    depth: u32,
}

/// Shows every object that a delta stands for. `number` is told how many there were so far.
pub fn run<S: Source + ?Sized>(
    source: &S,
    pack: &Entries,
    bounds: &Bounds,
    look: &mut impl Look,
    mut number: impl FnMut(u64, u64),
) -> Result<(), Unsound> {
    let mut family = Family::of(&pack.entries)?;
    let (all, mut done) = (family.deltas, 0);
    let mut inflated = pack.inflated;
    let mut inflater = Inflater::default();
    let mut reader = Reader::at(source, 0);
    let mut unpack = |entry: &Entry| {
        if entry.size > bounds.delta {
            return Err(Unsound::TooLarge("bytes of an object that deltas are upon", bounds.delta));
        }
        reader.seek(entry.data);
        let mut bytes = Vec::new();
        inflater.run(&mut reader, entry.size, |piece| {
            bytes.extend_from_slice(piece);
            Ok(())
        })?;
        Ok(bytes)
    };
    for (index, entry) in pack.entries.iter().enumerate() {
        let What::Object(kind, id) = entry.what else { continue };
        let children = family.of_base(u32::try_from(index).unwrap_or(u32::MAX), id);
        if children.is_empty() {
            continue;
        }
        let object = unpack(entry)?;
        let mut held = object.len() as u64;
        let mut stack = vec![Held { object, kind, children: children.into_iter(), depth: 1 }];
        while let Some(top) = stack.last_mut() {
            let Some(child) = top.children.next() else {
                held -= top.object.len() as u64;
                stack.pop();
                continue;
            };
            if top.depth > bounds.depth {
                return Err(Unsound::TooLarge("deltas upon deltas", u64::from(bounds.depth)));
            }
            let (kind, depth) = (top.kind, top.depth);
            let entry = &pack.entries[child as usize];
            let instructions = unpack(entry)?;
            let object = delta::apply(&top.object, &instructions, bounds.delta).map_err(|why| Unsound::Delta(entry.at, why))?;
            drop(instructions);
            if top.children.len() == 0 {
                held -= top.object.len() as u64;
                stack.pop();
            }
            inflated += object.len() as u64;
            if inflated > bounds.inflated {
                return Err(Unsound::TooLarge("bytes of all objects together", bounds.inflated));
            }
            let id = show(kind, &object, child, look)?;
            done += 1;
            number(done, all);
            let children = family.of_base(child, id);
            if !children.is_empty() {
                held += object.len() as u64;
                if held > bounds.held {
                    return Err(Unsound::TooLarge("bytes of objects that deltas are upon", bounds.held));
                }
                stack.push(Held { object, kind, children: children.into_iter(), depth: depth + 1 });
            }
        }
    }
    if done == all { Ok(()) } else { Err(Unsound::NoBase(all - done)) }
}

fn show(kind: Kind, object: &[u8], entry: u32, look: &mut impl Look) -> Result<ObjectId, Unsound> {
    let size = object.len() as u64;
    let mut hashing = Hashing::new(kind, size);
    hashing.update(object);
    look.begin(kind, size)?;
    look.piece(object)?;
    let id = hashing.finish()?;
    look.end(id, Place { entry, data: None }, Some(object))?;
    Ok(id)
}

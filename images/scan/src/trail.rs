//! What one bottle sends in small values, from request to request: a secret may leave in fragments, each too small to be recognised.
//!
//! The values that stood in one place of successive requests (a query's value of one name, the third segment of the path)
//! are joined in their order, and the joined text is scanned as any other. A value that stays the same from request to
//! request counts once. Found is what is sent in order and whole, in any encoding that the scanner knows; what is
//! shuffled, padded with other text or spread over many places is not.

use std::collections::VecDeque;

use crate::finding::Finding;
use crate::scanner::Scanner;

/// The longest value that counts as a fragment: a longer one is scanned where it stands.
pub const MAX_FRAGMENT: usize = 128;
/// Bytes that are remembered of one place: longer than the tokens of all vendors but for signed ones.
const MAX_TEXT: usize = 512;
/// Places at most; the one that was seen longest ago is forgotten first.
const MAX_PLACES: usize = 256;
/// The longest name of a place.
const MAX_NAME: usize = 64;

/// What was sent, of one bottle: at most some 200 KiB.
#[derive(Default)]
pub struct Trail {
    /// The place that was seen last stands last.
    places: VecDeque<Place>,
}

struct Place {
    name: String,
    text: Vec<u8>,
    /// The length of the last fragment.
    last: usize,
}

impl std::fmt::Debug for Trail {
    /// The fragments may be a secret's.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Trail({} places)", self.places.len())
    }
}

impl Trail {
    /// Adds the values of one request, each with the name of its place. Says where they completed something, and what.
    /// What was found is forgotten, so that the next request is judged anew.
    pub fn add<'v>(&mut self, scanner: &Scanner, values: impl Iterator<Item = (&'v str, &'v [u8])>) -> Option<(String, Finding)> {
        let mut changed = 0;
        for (name, value) in values.filter(|(_, value)| !value.is_empty() && value.len() <= MAX_FRAGMENT) {
            changed += usize::from(self.append(name, value));
        }
        if changed == 0 {
            return None;
        }
        // Whatever changed stands at the end; a single fragment was scanned in its request.
        let mut text = Vec::with_capacity(changed * 64);
        let mut starts = Vec::new();
        let first = self.places.len().saturating_sub(changed);
        for (index, place) in self.places.iter().enumerate().skip(first).filter(|(_, place)| place.text.len() > place.last) {
            starts.push((text.len() as u64, index));
            text.extend_from_slice(&place.text);
            text.push(b'\n');
        }
        let found = scanner.scan(&text)?;
        let index = starts.iter().rev().find(|(start, _)| *start <= found.offset).map_or(first, |(_, index)| *index);
        let place = self.places.remove(index)?;
        Some((place.name, found))
    }

    /// False when the value is the same as the last one of this place.
    fn append(&mut self, name: &str, value: &[u8]) -> bool {
        let name = if name.len() > MAX_NAME { &name[..name.floor_char_boundary(MAX_NAME)] } else { name };
        let known = self.places.iter().rposition(|place| place.name == name);
        let mut place = match known.and_then(|index| {
            let place = &self.places[index];
            if place.text[place.text.len() - place.last..] == *value { None } else { self.places.remove(index) }
        }) {
            Some(place) => place,
            None if known.is_some() => return false,
            None => Place { name: name.to_owned(), text: Vec::new(), last: 0 },
        };
        if place.text.len() + value.len() > MAX_TEXT {
            place.text.drain(..place.text.len() + value.len() - MAX_TEXT);
        }
        place.text.extend_from_slice(value);
        place.last = value.len();
        if self.places.len() == MAX_PLACES {
            self.places.pop_front();
        }
        self.places.push_back(place);
        true
    }
}

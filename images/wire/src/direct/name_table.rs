//! Which name has which local address. A name that may still be in use is never given another's address, nor its own to another.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bottle_contract::host::Host;
use bottle_contract::local::{self, MAX_NAMES};

/// A name keeps its address for so long after it was last asked for or dialled: ten times as long as an answer may be cached, as some
/// programs cache longer than they may.
const MIN_AGE: Duration = Duration::from_secs(600);

/// The names and their numbers, which [`local`] turns into addresses. Pure: the time comes in.
#[derive(Debug)]
struct Table {
    capacity: u16,
    numbers: HashMap<Arc<str>, u16>,
    rows: Vec<Row>,
    /// Before then, no row can be taken from its name.
    full_until: Option<Instant>,
}

#[derive(Debug)]
struct Row {
    name: Arc<str>,
    /// The last time that it was asked for, or that a connection to it ended.
    used: Instant,
    /// Connections to it.
    open: usize,
}

impl Table {
    fn new(capacity: u16) -> Self {
        Self { capacity, numbers: HashMap::new(), rows: Vec::new(), full_until: None }
    }

    /// The number of a name, which is in lower case: the one it has, a free one, or one whose name is out of use. `None` if there is none.
    fn assign(&mut self, name: &str, now: Instant) -> Option<u16> {
        if let Some(&number) = self.numbers.get(name) {
            self.rows[usize::from(number)].used = now;
            return Some(number);
        }
        let row = Row { name: name.into(), used: now, open: 0 };
        let number = match u16::try_from(self.rows.len()) {
            Ok(number) if number < self.capacity => {
                self.numbers.insert(row.name.clone(), number);
                self.rows.push(row);
                return Some(number);
            }
            _ => self.out_of_use(now)?,
        };
        let before = std::mem::replace(&mut self.rows[usize::from(number)], row);
        self.numbers.remove(&before.name);
        self.numbers.insert(self.rows[usize::from(number)].name.clone(), number);
        Some(number)
    }

    /// The number whose name has been out of use for the longest, if that is long enough.
    fn out_of_use(&mut self, now: Instant) -> Option<u16> {
        // Whoever floods the table must not cost a search for each name.
        if self.full_until.is_some_and(|until| now < until) {
            return None;
        }
        let idle = self.rows.iter().enumerate().filter(|(_, row)| row.open == 0);
        let oldest = idle.min_by_key(|(_, row)| row.used).map(|(number, row)| (number, row.used + MIN_AGE));
        match oldest {
            Some((number, free)) if free <= now => u16::try_from(number).ok(),
            // A connection that ends makes its name young, so this is the earliest time in any case.
            other => {
                self.full_until = Some(other.map_or(now + MIN_AGE, |(_, free)| free));
                None
            }
        }
    }

    fn row(&mut self, number: u16) -> Option<&mut Row> {
        self.rows.get_mut(usize::from(number))
    }
}

/// The table of one agent, shared by its resolver and its connections.
#[derive(Debug)]
pub struct Names(Mutex<Table>);

impl Default for Names {
    fn default() -> Self {
        Self(Mutex::new(Table::new(MAX_NAMES)))
    }
}

impl Names {
    /// The number of a name in lower case; `None` if every number is in use.
    pub(super) fn assign(&self, name: &str) -> Option<u16> {
        self.table(|table| table.assign(name, Instant::now()))
    }

    /// The name that has this address.
    pub(super) fn name(&self, address: IpAddr) -> Option<Host> {
        let number = local::number(address)?;
        self.table(|table| table.row(number).map(|row| Host::Name(row.name.to_string())))
    }

    /// Counts a connection to this address, if a name has it.
    pub(crate) fn dialled(self: &Arc<Self>, address: IpAddr) -> Option<OpenName> {
        let number = local::number(address)?;
        let name = self.table(|table| {
            let row = table.row(number)?;
            row.open += 1;
            Some(row.name.to_string())
        })?;
        Some(OpenName { names: self.clone(), number, host: Host::Name(name) })
    }

    fn table<T>(&self, with: impl FnOnce(&mut Table) -> T) -> T {
        with(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A name with an open connection, which keeps its address until this is dropped.
#[derive(Debug)]
pub(crate) struct OpenName {
    names: Arc<Names>,
    number: u16,
    host: Host,
}

impl OpenName {
    pub(crate) fn host(&self) -> &Host {
        &self.host
    }
}

impl Drop for OpenName {
    fn drop(&mut self) {
        self.names.table(|table| {
            if let Some(row) = table.row(self.number) {
                row.open = row.open.saturating_sub(1);
                row.used = Instant::now();
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn name(n: usize) -> String {
        format!("n{n}.test")
    }

    #[test]
    fn a_name_keeps_its_number_and_beyond_the_last_number_there_is_none() {
        let mut table = Table::new(MAX_NAMES);
        let now = Instant::now();
        let numbers: Vec<_> = (0..usize::from(MAX_NAMES)).map(|n| table.assign(&name(n), now)).collect();
        assert_eq!(numbers, (0..MAX_NAMES).map(Some).collect::<Vec<_>>());
        assert_eq!(table.assign("one.more.test", now), None);
        assert_eq!((table.assign(&name(7), now), table.assign(&name(16_383), now)), (Some(7), Some(16_383)));
    }

    #[test]
    fn the_name_that_is_out_of_use_for_the_longest_makes_room() {
        let mut table = Table::new(2);
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!((table.assign("a", at(0)), table.assign("b", at(1))), (Some(0), Some(1)));
        table.assign("a", at(2));
        assert_eq!(table.assign("c", at(600)), None);
        assert_eq!(table.assign("c", at(601)), Some(1));
        assert_eq!((table.assign("b", at(601)), table.assign("b", at(602))), (None, Some(0)));
    }

    #[test]
    fn an_open_connection_keeps_its_name_however_old_it_is() {
        let names = Arc::new(Names(Mutex::new(Table::new(1))));
        assert_eq!(names.assign("a.test"), Some(0));
        let address = IpAddr::V4(local::v4(0));
        let open = names.dialled(address).unwrap();
        assert_eq!(open.host(), &Host::Name("a.test".into()));
        let later = Instant::now() + MIN_AGE * 5;
        assert_eq!(names.table(|table| table.assign("b.test", later)), None);
        drop(open);
        let after = Instant::now() + MIN_AGE * 11;
        assert_eq!(names.table(|table| table.assign("b.test", after)), Some(0));
        assert_eq!(names.name(address), Some(Host::Name("b.test".into())));
        assert!(names.dialled(IpAddr::V4(local::v4(1))).is_none() && names.dialled("127.0.0.1".parse().unwrap()).is_none());
    }

    proptest! {
        /// Whatever is asked, dialled and closed at whatever time: a number has one name, and changes it only when nobody can mean the old one.
        #[test]
        fn no_name_in_use_loses_its_number(steps in proptest::collection::vec((0usize..12, 0u8..3, 0u64..400), 1..200)) {
            let mut table = Table::new(4);
            let mut now = Instant::now();
            let mut model: BTreeMap<u16, (String, Instant, usize)> = BTreeMap::new();
            for (which, what, pause) in steps {
                now += Duration::from_secs(pause);
                let number = u16::try_from(which % 4).unwrap();
                match what {
                    0 => {
                        let name = name(which);
                        let held = model.iter().find(|(_, row)| row.0 == name).map(|(number, _)| *number);
                        let is_takeable = |row: &(String, Instant, usize)| row.2 == 0 && row.1 + MIN_AGE <= now;
                        let has_room = model.len() < 4 || model.values().any(is_takeable);
                        match (table.assign(&name, now), held) {
                            (Some(number), Some(held)) => prop_assert_eq!(number, held),
                            (Some(number), None) => prop_assert!(model.get(&number).is_none_or(is_takeable)),
                            (None, held) => prop_assert!(held.is_none() && !has_room),
                        }
                        if let Some((number, _)) = model.iter().find(|(_, row)| row.0 == name).map(|(n, r)| (*n, r.clone())).or_else(|| {
                            table.numbers.get(name.as_str()).map(|number| (*number, (name.clone(), now, 0)))
                        }) {
                            let open = model.get(&number).filter(|row| row.0 == name).map_or(0, |row| row.2);
                            model.insert(number, (name, now, open));
                        }
                    }
                    1 => {
                        if let (Some(row), Some(of_model)) = (table.row(number), model.get_mut(&number)) {
                            row.open += 1;
                            of_model.2 += 1;
                        }
                    }
                    _ => {
                        if let (Some(row), Some(of_model)) = (table.row(number), model.get_mut(&number))
                            && of_model.2 > 0
                        {
                            row.open -= 1;
                            row.used = now;
                            *of_model = (of_model.0.clone(), now, of_model.2 - 1);
                        }
                    }
                }
                for (number, (name, ..)) in &model {
                    prop_assert_eq!(&*table.rows[usize::from(*number)].name, name.as_str());
                    prop_assert_eq!(table.numbers.get(name.as_str()), Some(number));
                }
                prop_assert_eq!(table.numbers.len(), table.rows.len());
            }
        }
    }
}

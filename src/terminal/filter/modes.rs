//! Tracks the modes of the operator's terminal, and restores them.

use std::collections::BTreeMap;

use super::csi::Csi;
use super::osc::Osc;

/// More than any terminal has.
const MAX_MODES: usize = 128;
/// The screens of full-screen programs: 1049 also keeps the cursor.
const ALTERNATES: [u16; 3] = [47, 1047, 1049];
/// Private modes that are set when nobody has touched them: wrapping, repeating keys, the cursor, and scrolling at a key.
const SET_FROM_THE_START: [u16; 5] = [7, 8, 25, 1014, 1048];
/// Private modes that are not.
const KNOWN: [u16; 30] = [
    1, 3, 5, 6, 9, 12, 45, 47, 66, 69, 1000, 1001, 1002, 1003, 1004, 1005, 1006, 1007, 1015, 1016, 1035, 1036, 1039, 1047, 1049, 2004,
    2026, 2027, 2031, 2048,
];

/// A private mode: its current and its original value.
#[derive(Clone, Copy, Debug)]
struct Mode {
    from_the_start: bool,
    now: bool,
}

/// The keyboard of one screen: kitty's protocol keeps a stack for each.
#[derive(Clone, Copy, Debug, Default)]
struct Keyboard {
    pushed: u16,
    /// The last value pushed.
    flags: u16,
    set: bool,
}

/// The differences from a fresh terminal.
#[derive(Clone, Debug, Default)]
pub(super) struct Modes {
    private: BTreeMap<u16, Mode>,
    /// The main screen's and the other's.
    keyboards: [Keyboard; 2],
    /// Settings that one sequence each restores, in their order.
    touched: [bool; RESTORE.len()],
}

/// A setting that was changed.
#[derive(Clone, Copy, Debug)]
enum Touched {
    Link,
    Region,
    Rendition,
    Characters,
    Keypad,
    Cursor,
    Modifiers,
    Insert,
    Newline,
    Colors,
    Progress,
    Title,
}

/// The sequence that restores each. The region is set without moving the cursor.
const RESTORE: [&[u8]; 12] = [
    b"\x1b]8;;\x1b\\",
    b"\x1b7\x1b[r\x1b8",
    b"\x1b[m",
    b"\x1b(B\x0f",
    b"\x1b>",
    b"\x1b[0 q",
    b"\x1b[>4m",
    b"\x1b[4l",
    b"\x1b[20l",
    b"\x1b]104\x1b\\\x1b]110\x1b\\\x1b]111\x1b\\\x1b]112\x1b\\",
    b"\x1b]9;4;0;0\x1b\\",
    b"\x1b[23;0t",
];

impl Modes {
    fn touch(&mut self, what: Touched) -> bool {
        !std::mem::replace(&mut self.touched[what as usize], true)
    }

    /// A sequence of ESC, without it: true if it passes.
    pub(super) fn escape(&mut self, bytes: &[u8]) -> bool {
        match bytes {
            // A full reset.
            b"c" => *self = Self::default(),
            b"=" | b">" => drop(self.touch(Touched::Keypad)),
            [b'(' | b')' | b'*' | b'+', _] | [b'n' | b'o' | b'|' | b'}' | b'~'] => drop(self.touch(Touched::Characters)),
            [b'7' | b'8' | b'D' | b'E' | b'M' | b'H' | b'N' | b'O' | b'Z'] | [b'#', b'3'..=b'8'] | b"%G" => {}
            _ => return false,
        }
        true
    }

    /// A control sequence: true if it passes.
    pub(super) fn csi(&mut self, csi: &Csi<'_>) -> bool {
        if !csi.is_harmless() {
            return false;
        }
        match (csi.private, csi.intermediates, csi.last) {
            (Some(b'?'), b"", b'h' | b'l' | b'r') => return csi.numbers().all(|mode| self.set(mode, csi.last != b'l')),
            (Some(private), b"", b'u') => self.keyboard(private, csi),
            (Some(b'>'), b"", b'm' | b'n') => drop(self.touch(Touched::Modifiers)),
            (None, b" ", b'q') => drop(self.touch(Touched::Cursor)),
            (None, b"", b'm') => drop(self.touch(Touched::Rendition)),
            (None, b"", b'r') => drop(self.touch(Touched::Region)),
            (None, b"", b'h' | b'l') => {
                self.touch(Touched::Insert);
                self.touch(Touched::Newline);
            }
            _ => {}
        }
        true
    }

    /// Handles a command that passes, and returns what must be printed before it.
    pub(super) fn osc(&mut self, osc: Osc) -> &'static [u8] {
        match osc {
            // Lets the terminal save its title.
            Osc::Title if self.touch(Touched::Title) => return b"\x1b[22;0t",
            Osc::Color => drop(self.touch(Touched::Colors)),
            Osc::Link => drop(self.touch(Touched::Link)),
            Osc::Progress => drop(self.touch(Touched::Progress)),
            Osc::Title | Osc::Query | Osc::Reset => {}
        }
        b""
    }

    /// An unknown mode had the opposite value before its first change: nobody sets a mode that is set.
    fn set(&mut self, number: u16, now: bool) -> bool {
        if self.private.len() >= MAX_MODES && !self.private.contains_key(&number) {
            return false;
        }
        let from_the_start = SET_FROM_THE_START.contains(&number) || !KNOWN.contains(&number) && !now;
        self.private.entry(number).or_insert(Mode { from_the_start, now }).now = now;
        true
    }

    fn is_alternate(&self) -> bool {
        ALTERNATES.iter().any(|number| self.private.get(number).is_some_and(|mode| mode.now))
    }

    fn keyboard(&mut self, private: u8, csi: &Csi<'_>) {
        let keyboard = &mut self.keyboards[usize::from(self.is_alternate())];
        match private {
            b'>' => {
                keyboard.pushed = keyboard.pushed.saturating_add(1);
                keyboard.flags = csi.first();
            }
            b'<' => keyboard.pushed = keyboard.pushed.saturating_sub(csi.first().max(1)),
            b'=' => keyboard.set = true,
            _ => {}
        }
    }

    /// Sets the private modes and the keyboards again: the alternate screen first, because it has its own keyboard.
    pub(super) fn resume(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.keyboards[0].resume(&mut out);
        let differ = self.private.iter().filter(|(_, mode)| mode.now != mode.from_the_start);
        let (screens, others): (Vec<_>, Vec<_>) = differ.partition(|(number, _)| ALTERNATES.contains(number));
        for (number, mode) in screens.into_iter().chain(others) {
            out.extend(format!("\x1b[?{number}{}", if mode.now { 'h' } else { 'l' }).bytes());
        }
        if self.is_alternate() {
            self.keyboards[1].resume(&mut out);
        }
        out
    }

    /// Restores everything: first the settings of the alternate screen, then the screen, then the rest.
    pub(super) fn restore(self) -> Vec<u8> {
        let mut out = Vec::new();
        let is_alternate = self.is_alternate();
        if is_alternate {
            self.keyboards[1].restore(&mut out);
        }
        let (screens, others): (Vec<_>, Vec<_>) =
            self.private.iter().filter(|(_, mode)| mode.now != mode.from_the_start).partition(|(number, _)| ALTERNATES.contains(number));
        for (number, mode) in others.into_iter().chain(screens) {
            let last = if mode.from_the_start { 'h' } else { 'l' };
            out.extend(format!("\x1b[?{number}{last}").bytes());
        }
        self.keyboards[0].restore(&mut out);
        for (bytes, _) in RESTORE.iter().zip(self.touched).filter(|(_, touched)| *touched) {
            out.extend(*bytes);
        }
        out
    }
}

impl Keyboard {
    fn resume(self, out: &mut Vec<u8>) {
        (0..self.pushed.min(8)).for_each(|_| out.extend(format!("\x1b[>{}u", self.flags).bytes()));
    }

    fn restore(self, out: &mut Vec<u8>) {
        if self.set {
            out.extend(b"\x1b[=0u");
        }
        if self.pushed > 0 {
            out.extend(format!("\x1b[<{}u", self.pushed).bytes());
        }
    }
}

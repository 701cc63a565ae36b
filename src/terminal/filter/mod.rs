//! What an agent prints, made harmless for the operator's terminal. Pure.
//!
//! A terminal obeys what is printed on it: it sets the clipboard, types answers to queries into the shell that comes next, prints, and
//! programs its keys. An agent's program is not trusted with that. Text passes, and so do the sequences that are known and that draw; of
//! the others nothing does. Whatever passes is a whole sequence, so that the terminal and this parser never differ about where one ends,
//! and nothing but sequences of the 7-bit form: C1 controls mean different things to different terminals.

mod csi;
mod modes;
mod osc;

use modes::Modes;

const ESC: u8 = 0x1b;
const BEL: u8 = 0x07;
/// Aborts a sequence, as SUB does.
const CAN: u8 = 0x18;
const SUB: u8 = 0x1a;
/// The terminal types its answerback, whatever that is.
const ENQ: u8 = 0x05;
/// No sequence that draws is longer.
const MAX_CSI_BYTES: usize = 256;
/// A link may have 2083 bytes in practice, and a few colours less.
const MAX_OSC_BYTES: usize = 4096;
/// U+FFFD, for a byte that is no text.
const REPLACEMENT: &[u8] = "\u{fffd}".as_bytes();

/// A filter of one stream; it may be split anywhere.
#[derive(Debug, Default)]
pub struct Filter {
    state: State,
    /// The sequence so far, or the bytes of a character.
    held: Vec<u8>,
    modes: Modes,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Text.
    #[default]
    Ground,
    /// Behind ESC, and what may stand between it and the last byte.
    Escape,
    /// Behind `ESC [`.
    Csi,
    /// In one that is too long.
    LongCsi,
    /// Behind `ESC ]`.
    Osc,
    /// In a string that does not pass.
    Dropped,
    /// The Linux console's palette: so many digits follow, and no end.
    Palette(u8),
}

impl Filter {
    /// What of these bytes may be printed.
    pub fn pass(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(bytes.len());
        for byte in bytes {
            self.take(*byte, &mut out);
        }
        out
    }

    /// What puts the terminal's modes back, each as it is when nobody has set it. A sequence that has not ended is forgotten.
    pub fn restore(&mut self) -> Vec<u8> {
        self.state = State::Ground;
        self.held.clear();
        std::mem::take(&mut self.modes).restore()
    }

    /// The same, but what was set is remembered.
    pub fn without(&self) -> Vec<u8> {
        self.modes.clone().restore()
    }

    /// What sets again the modes that a full-screen program needs; it paints the rest.
    pub fn again(&self) -> Vec<u8> {
        self.modes.again()
    }

    fn take(&mut self, byte: u8, out: &mut Vec<u8>) {
        match self.state {
            State::Ground => self.text(byte, out),
            _ if matches!(byte, CAN | SUB) => self.leave(),
            State::Escape => self.escape(byte, out),
            State::Csi | State::LongCsi => self.csi(byte, out),
            State::Osc => self.osc(byte, out),
            State::Dropped => self.dropped(byte),
            State::Palette(left) if left > 0 && byte.is_ascii_hexdigit() => self.state = State::Palette(left - 1),
            State::Palette(_) => self.abort(byte, out),
        }
    }

    fn enter(&mut self, state: State) {
        self.state = state;
    }

    fn begin(&mut self) {
        self.held.clear();
        self.held.push(ESC);
        self.enter(State::Escape);
    }

    fn leave(&mut self) {
        self.held.clear();
        self.enter(State::Ground);
    }

    /// Gives a sequence up at a byte that cannot be in it.
    fn abort(&mut self, byte: u8, out: &mut Vec<u8>) {
        self.leave();
        self.take(byte, out);
    }

    fn text(&mut self, byte: u8, out: &mut Vec<u8>) {
        if !self.held.is_empty() {
            return self.character(byte, out);
        }
        match byte {
            ESC => self.begin(),
            ENQ => {}
            0..=0x7f => out.push(byte),
            0xc2..=0xf4 => self.held.push(byte),
            // In a terminal of eight bits it is a control.
            0x80..=0x9f => out.extend(REPLACEMENT),
            _ => out.push(byte),
        }
    }

    /// A further byte of a character: UTF-8 (RFC 3629) has up to four.
    fn character(&mut self, byte: u8, out: &mut Vec<u8>) {
        if !(0x80..=0xbf).contains(&byte) {
            out.extend(REPLACEMENT);
            return self.abort(byte, out);
        }
        self.held.push(byte);
        let length = match self.held[0] {
            0..=0xdf => 2,
            0xe0..=0xef => 3,
            _ => 4,
        };
        if self.held.len() == length {
            let is_text = std::str::from_utf8(&self.held).is_ok_and(|text| !text.chars().any(char::is_control));
            out.extend(if is_text { &self.held[..] } else { REPLACEMENT });
            self.held.clear();
        }
    }

    /// A control within a sequence acts at once, and the sequence goes on.
    fn control(byte: u8, out: &mut Vec<u8>) {
        if byte != ENQ {
            out.push(byte);
        }
    }

    fn escape(&mut self, byte: u8, out: &mut Vec<u8>) {
        match (byte, self.held.len()) {
            (ESC, _) => self.begin(),
            (0..=0x1f, _) => Self::control(byte, out),
            (b'[', 1) => self.hold(byte, State::Csi),
            (b']', 1) => self.hold(byte, State::Osc),
            // DCS, SOS, PM, APC: downloads of fonts and keys, files of the terminal's machine, queries whose answers are typed.
            (b'P' | b'X' | b'^' | b'_', 1) => self.enter(State::Dropped),
            (b' '..=b'/', 1..=3) => self.held.push(byte),
            (b'0'..=b'~', _) => {
                self.held.push(byte);
                if self.modes.escape(&self.held[1..]) {
                    out.extend(&self.held);
                }
                self.leave();
            }
            _ => self.abort(byte, out),
        }
    }

    fn hold(&mut self, byte: u8, state: State) {
        self.held.push(byte);
        self.enter(state);
    }

    fn csi(&mut self, byte: u8, out: &mut Vec<u8>) {
        match byte {
            ESC => self.begin(),
            0..=0x1f => Self::control(byte, out),
            b' '..=b'?' if self.held.len() < MAX_CSI_BYTES => self.held.push(byte),
            b' '..=b'?' => self.enter(State::LongCsi),
            b'@'..=b'~' => {
                self.held.push(byte);
                if self.state == State::Csi && csi::Csi::parse(&self.held[2..]).is_some_and(|csi| self.modes.csi(&csi)) {
                    out.extend(&self.held);
                }
                self.leave();
            }
            0x7f => {}
            _ => self.abort(byte, out),
        }
    }

    fn osc(&mut self, byte: u8, out: &mut Vec<u8>) {
        let is_ending = self.held.last() == Some(&ESC);
        match byte {
            b'\\' if is_ending => self.end_of_osc(b"\x1b\\", out),
            BEL if !is_ending => self.end_of_osc(b"\x07", out),
            // The string was given up, and another sequence begins.
            _ if is_ending => {
                self.begin();
                self.take(byte, out);
            }
            b'R' if self.held.len() == 2 => self.leave(),
            b'P' if self.held.len() == 2 => self.enter(State::Palette(7)),
            _ if self.held.len() < MAX_OSC_BYTES => self.held.push(byte),
            _ => self.enter(State::Dropped),
        }
    }

    fn end_of_osc(&mut self, end: &[u8], out: &mut Vec<u8>) {
        let payload = self.held[2..].strip_suffix(&[ESC]).unwrap_or(&self.held[2..]);
        if let Some(kind) = osc::Osc::parse(payload) {
            out.extend(self.modes.osc(kind));
            out.extend(b"\x1b]");
            out.extend(payload);
            out.extend(end);
        }
        self.leave();
    }

    /// ST ends it; so does BEL, since what is taken for text too early is only filtered as such.
    fn dropped(&mut self, byte: u8) {
        match byte {
            BEL => self.leave(),
            // `\` behind it ends nothing and is dropped.
            ESC => self.begin(),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;

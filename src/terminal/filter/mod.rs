//! Filters an agent's output for the operator's terminal. Pure.
//!
//! A terminal obeys its input: it sets the clipboard, types answers to queries into the next shell, prints, and programs its keys. An agent
//! is not trusted with that. Text passes, and so do known sequences that only draw. Everything else is dropped. Only complete sequences pass,
//! so the terminal and this parser always agree where one ends; and only 7-bit ones, because terminals interpret C1 controls differently.

mod csi;
mod modes;
mod osc;

use modes::Modes;

const ESC: u8 = 0x1b;
const BEL: u8 = 0x07;
/// Aborts a sequence, as SUB does.
const CAN: u8 = 0x18;
const SUB: u8 = 0x1a;
/// The terminal types its answerback.
const ENQ: u8 = 0x05;
/// A longer sequence does not draw.
const MAX_CSI_BYTES: usize = 256;
/// A link has up to 2083 bytes in practice.
const MAX_OSC_BYTES: usize = 4096;
/// U+FFFD, for an invalid byte.
const REPLACEMENT: &[u8] = "\u{fffd}".as_bytes();

/// Filters one stream, in any chunks.
#[derive(Debug, Default)]
pub struct Filter {
    state: State,
    /// The incomplete sequence or character.
    buffer: Vec<u8>,
    modes: Modes,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Text.
    #[default]
    Ground,
    /// After ESC, and intermediate bytes.
    Escape,
    /// After `ESC [`.
    Csi,
    /// In a sequence that is too long.
    LongCsi,
    /// After `ESC ]`.
    Osc,
    /// In a string that is dropped.
    Dropped,
    /// The Linux console's palette: this many digits follow, and no terminator.
    Palette(u8),
}

impl Filter {
    /// Filters bytes.
    pub fn pass(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(bytes.len());
        for byte in bytes {
            self.take(*byte, &mut out);
        }
        out
    }

    /// The sequences that restore the terminal's default modes. An incomplete sequence is dropped.
    pub fn restore(&mut self) -> Vec<u8> {
        self.state = State::Ground;
        self.buffer.clear();
        std::mem::take(&mut self.modes).restore()
    }

    /// The same, but remembers the modes.
    pub fn without(&self) -> Vec<u8> {
        self.modes.clone().restore()
    }

    /// The sequences that set the modes of a full-screen program again; the program redraws the rest.
    pub fn resume(&self) -> Vec<u8> {
        self.modes.resume()
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
        self.buffer.clear();
        self.buffer.push(ESC);
        self.enter(State::Escape);
    }

    fn leave(&mut self) {
        self.buffer.clear();
        self.enter(State::Ground);
    }

    /// Drops a sequence at an invalid byte.
    fn abort(&mut self, byte: u8, out: &mut Vec<u8>) {
        self.leave();
        self.take(byte, out);
    }

    fn text(&mut self, byte: u8, out: &mut Vec<u8>) {
        if !self.buffer.is_empty() {
            return self.character(byte, out);
        }
        match byte {
            ESC => self.begin(),
            ENQ => {}
            0..=0x7f => out.push(byte),
            0xc2..=0xf4 => self.buffer.push(byte),
            // An 8-bit terminal reads it as a control.
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
        self.buffer.push(byte);
        let length = match self.buffer[0] {
            0..=0xdf => 2,
            0xe0..=0xef => 3,
            _ => 4,
        };
        if self.buffer.len() == length {
            let is_text = std::str::from_utf8(&self.buffer).is_ok_and(|text| !text.chars().any(char::is_control));
            out.extend(if is_text { &self.buffer[..] } else { REPLACEMENT });
            self.buffer.clear();
        }
    }

    /// A control inside a sequence acts at once, and the sequence continues.
    fn control(byte: u8, out: &mut Vec<u8>) {
        if byte != ENQ {
            out.push(byte);
        }
    }

    fn escape(&mut self, byte: u8, out: &mut Vec<u8>) {
        match (byte, self.buffer.len()) {
            (ESC, _) => self.begin(),
            (0..=0x1f, _) => Self::control(byte, out),
            (b'[', 1) => self.hold(byte, State::Csi),
            (b']', 1) => self.hold(byte, State::Osc),
            // DCS, SOS, PM, APC: they download fonts and keys, access files, or query; the terminal types the answers.
            (b'P' | b'X' | b'^' | b'_', 1) => self.enter(State::Dropped),
            (b' '..=b'/', 1..=3) => self.buffer.push(byte),
            (b'0'..=b'~', _) => {
                self.buffer.push(byte);
                if self.modes.escape(&self.buffer[1..]) {
                    out.extend(&self.buffer);
                }
                self.leave();
            }
            _ => self.abort(byte, out),
        }
    }

    fn hold(&mut self, byte: u8, state: State) {
        self.buffer.push(byte);
        self.enter(state);
    }

    fn csi(&mut self, byte: u8, out: &mut Vec<u8>) {
        match byte {
            ESC => self.begin(),
            0..=0x1f => Self::control(byte, out),
            b' '..=b'?' if self.buffer.len() < MAX_CSI_BYTES => self.buffer.push(byte),
            b' '..=b'?' => self.enter(State::LongCsi),
            b'@'..=b'~' => {
                self.buffer.push(byte);
                if self.state == State::Csi && csi::Csi::parse(&self.buffer[2..]).is_some_and(|csi| self.modes.csi(&csi)) {
                    out.extend(&self.buffer);
                }
                self.leave();
            }
            0x7f => {}
            _ => self.abort(byte, out),
        }
    }

    fn osc(&mut self, byte: u8, out: &mut Vec<u8>) {
        let is_ending = self.buffer.last() == Some(&ESC);
        match byte {
            b'\\' if is_ending => self.end_of_osc(b"\x1b\\", out),
            BEL if !is_ending => self.end_of_osc(b"\x07", out),
            // The string was aborted, and another sequence begins.
            _ if is_ending => {
                self.begin();
                self.take(byte, out);
            }
            b'R' if self.buffer.len() == 2 => self.leave(),
            b'P' if self.buffer.len() == 2 => self.enter(State::Palette(7)),
            _ if self.buffer.len() < MAX_OSC_BYTES => self.buffer.push(byte),
            _ => self.enter(State::Dropped),
        }
    }

    fn end_of_osc(&mut self, end: &[u8], out: &mut Vec<u8>) {
        let payload = self.buffer[2..].strip_suffix(&[ESC]).unwrap_or(&self.buffer[2..]);
        if let Some(kind) = osc::Osc::parse(payload) {
            out.extend(self.modes.osc(kind));
            out.extend(b"\x1b]");
            out.extend(payload);
            out.extend(end);
        }
        self.leave();
    }

    /// ST ends it, and so does BEL: what follows is filtered as text.
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

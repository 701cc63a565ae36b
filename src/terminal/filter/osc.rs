//! Operating system commands (xterm's control sequences): titles, colours, links and progress pass, in strict forms.
//!
//! Not among them: the clipboard (52), notifications (9, 99, 777), shell integration (7, 133, 633, 1337),
//! fonts (50), and everything unknown.

/// A longer title is dropped.
const MAX_TITLE_BYTES: usize = 512;

/// A command that passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Osc {
    /// Sets a title (0, 1, 2).
    Title,
    /// Sets a colour of the palette, the text, the background or the cursor (4, 10 to 12).
    Color,
    /// Queries such a colour, to detect a dark background.
    Query,
    /// Resets colours (104, 110 to 112).
    Reset,
    /// Begins or ends a link (8).
    Link,
    /// Shows progress (9;4).
    Progress,
}

impl Osc {
    /// Parses the text between `ESC ]` and its terminator; `None` does not pass.
    pub(super) fn parse(payload: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(payload).ok()?;
        let (number, rest) = text.split_once(';').unwrap_or((text, ""));
        match number {
            "0" | "1" | "2" => (rest.len() <= MAX_TITLE_BYTES && rest.chars().all(is_printable)).then_some(Self::Title),
            "4" | "10" | "11" | "12" if is_color(rest) => {
                // A palette's entry is named by a number before each question mark.
                let asks = rest.split(';').all(|part| part == "?" || number == "4" && part.bytes().all(|byte| byte.is_ascii_digit()));
                Some(if asks { Self::Query } else { Self::Color })
            }
            "104" | "110" | "111" | "112" => rest.bytes().all(|byte| byte.is_ascii_digit() || byte == b';').then_some(Self::Reset),
            "8" => is_link(rest).then_some(Self::Link),
            "9" => is_progress(rest).then_some(Self::Progress),
            _ => None,
        }
    }
}

/// Visible text: no control, and nothing that changes the text direction.
fn is_printable(c: char) -> bool {
    !c.is_control() && !matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// Names and numbers of colours: `rgb:00/ff/80`, `#00ff80`, `?`.
fn is_color(text: &str) -> bool {
    text.len() <= 1024 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b":/#?;. ".contains(&byte))
}

/// `id=1;https://host/path`, or two empty parts, which end a link. Another scheme opens a program of the operator's.
fn is_link(text: &str) -> bool {
    let Some((parameters, target)) = text.split_once(';') else { return false };
    let named = parameters.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"=:_-.".contains(&byte));
    let reaches =
        ["http://", "https://"].iter().any(|scheme| target.starts_with(scheme)) && target.bytes().all(|byte| byte.is_ascii_graphic());
    named && (target.is_empty() || reaches)
}

/// `4;STATE;PERCENT`: other numbers than 4 run macros of ConEmu's, and text is a notification.
fn is_progress(text: &str) -> bool {
    let mut parts = text.split(';');
    parts.next() == Some("4") && parts.clone().count() <= 2 && parts.all(|part| part.len() <= 3 && part.bytes().all(|b| b.is_ascii_digit()))
}

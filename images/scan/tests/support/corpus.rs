//! Content by the megabyte, made from a fixed seed: the harmless kinds that cross a proxy, and the worst hostile ones.

#[path = "../../../../tests/cases/evasion/dice.rs"]
mod dice;

use dice::Dice;

const WORDS: &str = "the of and a to in is that it for you was with on as are be this have from or one by word but not what all were we \
    when your can said there use an each which she do how their if will up other about out many then them these so some her would \
    make like him into time has look two more write go see number no way could people my than first water been call who oil its now \
    find long down day did get come made may part function value token request response error user message content system model \
    secret password key access configuration environment variable certificate private public session cookie header authorization \
    repository branch commit test build package install version release dependency module import export return async await string \
    number boolean object array index length buffer stream server client connection timeout retry cache database query result row";

const IDENTIFIERS: &str = "self state config request response handler index offset length buffer result value entry options \
    createElement useState useEffect getOwnPropertyDescriptor addEventListener isConnected maxRetries content_length \
    deserialize_struct read_to_end from_utf8_lossy with_capacity MAX_PAYLOAD_SIZE DEFAULT_TIMEOUT parse_header next_token \
    VisitorDescriptor transactionIsolationLevel connectionPoolSize unwrap_or_default copy_from_slice";

/// Four kinds of harmless content.
pub(crate) fn benign(size: usize) -> Vec<(&'static str, Vec<u8>)> {
    let make = |name, one: fn(&mut Dice, &mut Vec<u8>)| {
        let (mut dice, mut out) = (Dice::new(7), Vec::with_capacity(size + 65536));
        while out.len() < size {
            one(&mut dice, &mut out);
        }
        out.truncate(size);
        (name, out)
    };
    vec![make("json", conversation), make("source", source), make("minified js", minified), make("base64 images", image)]
}

/// Content that is as expensive as an agent can make it.
pub(crate) fn hostile(size: usize) -> Vec<(&'static str, Vec<u8>)> {
    let fill = |unit: &str| unit.bytes().cycle().take(size).collect::<Vec<u8>>();
    let mut dice = Dice::new(3);
    vec![
        ("keywords", fill("ghp_sk-ant-AKIAxoxb-eyJglpat-hf_npm_SG.")),
        ("percent", fill("%41%42%20%3d")),
        ("escapes", fill("\\u0041\\x42\\/")),
        ("hex", dice.text("0123456789abcdef", size).into_bytes()),
        ("base32", dice.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", size).into_bytes()),
        ("letters", dice.text("abcdefghijklmnopqrstuvwxyz", size).into_bytes()),
        ("random", dice.bytes(size)),
        ("zeros", vec![0; size]),
        ("utf-16", fill("h\0e\0l\0l\0o\0 \0")),
        ("fullwidth", fill("ｈｅｌｌｏ ")),
        ("pairs", fill("67:68:70:5f:20 ")),
        ("cyrillic", fill("Привет, как дела сегодня? ")),
    ]
}

fn sentence(dice: &mut Dice, out: &mut Vec<u8>, words: usize) {
    let list: Vec<&str> = WORDS.split_ascii_whitespace().collect();
    for i in 0..words {
        if i > 0 {
            out.push(b' ');
        }
        out.extend_from_slice(dice.one(&list).as_bytes());
    }
    out.extend_from_slice(dice.one(&[".", ",", "?", ":", ";"]).as_bytes());
}

/// A message of a conversation with a model.
pub(crate) fn conversation(dice: &mut Dice, out: &mut Vec<u8>) {
    if out.is_empty() {
        out.extend_from_slice(b"{\"model\":\"claude\",\"max_tokens\":32000,\"messages\":[");
    }
    out.extend_from_slice(br#"{"role":"user","content":[{"type":"text","text":""#);
    for _ in 0..1 + dice.below(12) {
        let words = 4 + dice.below(16);
        sentence(dice, out, words);
        out.extend_from_slice(dice.one::<&[u8]>(&[b" ", b"\\n", b" \\\"", b"\\n    ", b" `", b"\\n- "]));
    }
    out.extend_from_slice(br#""},{"type":"tool_use","id":"toolu_"#);
    out.extend_from_slice(dice.text("ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz0123456789", 24).as_bytes());
    out.extend_from_slice(br#"","name":"Bash","input":{"command":"cd /home/user/project && cargo test --workspace 2>&1 | tail -20","n":"#);
    out.extend_from_slice(format!("{},\"at\":{}.{}}}}}]}},\n", dice.below(100_000), dice.below(1 << 30), dice.below(999)).as_bytes());
}

/// A few lines of code.
pub(crate) fn source(dice: &mut Dice, out: &mut Vec<u8>) {
    let names: Vec<&str> = IDENTIFIERS.split_ascii_whitespace().collect();
    let [a, b, c, d] = [(); 4].map(|()| *dice.one(&names));
    let text = format!(
        "    /// {a} of the {b}, as `{c}` has it (see section 4.2).\n    pub fn {a}(&mut self, {b}: &[u8]) -> Result<usize, Error> {{\n        \
         let {c} = self.{d}.{b}({a}, 0x{:04x})?;\n        if {c} == {} && !self.{a}.is_empty() {{\n            return Err(Error::{d}(\"{b} must \
         not be {c}\", {a} + {}));\n        }}\n        self.{b}.iter().map(|{d}| {d} as u64).sum::<u64>()\n    }}\n\n",
        dice.below(65536),
        dice.below(1000),
        dice.below(64)
    );
    out.extend_from_slice(text.as_bytes());
}

/// A piece of a bundle.
pub(crate) fn minified(dice: &mut Dice, out: &mut Vec<u8>) {
    let names: Vec<&str> = IDENTIFIERS.split_ascii_whitespace().collect();
    let letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJ$_";
    for _ in 0..40 {
        let longer = 1 + dice.below(2);
        let (a, b, c) = (dice.text(letters, 1), dice.text(letters, longer), dice.text(letters, 1));
        let (n, m, k) = (*dice.one(&names), *dice.one(&names), dice.below(4096));
        let text = match dice.below(6) {
            0 => format!("function {a}({b},{c}){{return {b}.{n}({c}[{k}])||void 0}}"),
            1 => format!("var {a}={b}.{n},{c}=\"{m}\";"),
            2 => format!("if(!{a}&&{b}!=={c}.{m})throw new Error({a}({k},\"{n}\"));"),
            3 => format!("{a}.exports=({b},{c})=>{{\"use strict\";{b}.{n}=1e3*{c}+{k}}},"),
            4 => format!("for(let {a}=0;{a}<{b}.length;{a}++){c}[{a}]={b}[{a}]>>>{};", k % 32),
            _ => format!("{a}?{b}({c}):{{{n}:!0,{m}:[{k},{}]}};", k / 2),
        };
        out.extend_from_slice(text.as_bytes());
    }
}

/// A picture in a message: one long run.
pub(crate) fn image(dice: &mut Dice, out: &mut Vec<u8>) {
    const DIGITS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    out.extend_from_slice(br#"{"type":"image","source":{"type":"base64","media_type":"image/png","data":"iVBORw0KGgoAAAANSUhEUgAA"#);
    out.extend_from_slice(dice.text(DIGITS, 60_000).as_bytes());
    out.extend_from_slice(b"\"}},\n");
}

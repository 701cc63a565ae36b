//! One token of each kind, in the vendor's published format, with valid checksums.

use super::dice::Dice;

/// A kind of secret and one of its kind.
pub(crate) struct Token {
    pub(crate) name: &'static str,
    /// The rule that must find it, or several with `|`.
    pub(crate) rule: &'static str,
    pub(crate) value: String,
}

const ALNUM: &str = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const HEX: &str = "0123456789abcdef";
const BASE32: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// The secret that the bottle itself has, known by its fingerprint alone.
pub(crate) fn own(seed: u64) -> String {
    Dice::new(seed).text(&format!("{ALNUM}-_./+"), 43)
}

/// One of each kind.
pub(crate) fn all(seed: u64) -> Vec<Token> {
    let mut d = Dice::new(seed);
    let url = &format!("{ALNUM}_-");
    let checked = |prefix: &str, body: String| {
        let sum = base62(crc32fast::hash(body.as_bytes()));
        format!("{prefix}{body}{sum}")
    };
    let token = |name, rule, value| Token { name, rule, value };
    vec![
        token("github classic", "github-pat", checked("ghp_", d.text(ALNUM, 30))),
        token("github server", "github-pat", checked("ghs_", d.text(ALNUM, 30))),
        token("github fine-grained", "github-fine-grained-pat", format!("github_pat_{}_{}", d.text(ALNUM, 22), d.text(ALNUM, 59))),
        token("npm", "npm-token", checked("npm_", d.text(ALNUM, 30))),
        token("aws key id", "aws-access-key-id", format!("AKIA{}", d.text(BASE32, 16))),
        token("anthropic", "anthropic-key", format!("sk-ant-api03-{}AA", d.text(url, 93))),
        token("anthropic oauth", "anthropic-key", format!("sk-ant-oat01-{}AA", d.text(url, 93))),
        token("openai project", "openai-key", format!("sk-proj-{}", d.text(url, 120))),
        token("openai legacy", "openai-legacy-key|sk-key", format!("sk-{}T3BlbkFJ{}", d.text(ALNUM, 20), d.text(ALNUM, 20))),
        token("deepseek", "sk-key", format!("sk-{}", d.text(HEX, 32))),
        token("google", "google-api-key", format!("AIza{}", d.text(url, 35))),
        token("hugging face", "huggingface-token", format!("hf_{}", d.text(ALNUM, 34))),
        token("groq", "groq-key", format!("gsk_{}", d.text(ALNUM, 52))),
        token("gitlab", "gitlab-token", format!("glpat-{}", d.text(url, 20))),
        token("slack bot", "slack-token", format!("xoxb-{}-{}-{}", d.text("123456789", 12), d.text("123456789", 12), d.text(ALNUM, 24))),
        token("stripe", "stripe-key", format!("sk_live_{}", d.text(ALNUM, 24))),
        token("sendgrid", "sendgrid-key", format!("SG.{}.{}", d.text(url, 22), d.text(url, 43))),
        token("telegram", "telegram-bot-token", format!("{}:AA{}", d.text("123456789", 10), d.text(url, 33))),
        token("pypi", "pypi-token", format!("pypi-AgEIcHlwaS5vcmc{}", d.text(url, 70))),
        token("digitalocean", "digitalocean-token", format!("dop_v1_{}", d.text(HEX, 64))),
        token("vault", "vault-token", format!("hvs.{}", d.text(url, 90))),
        token("shopify", "shopify-token", format!("shpat_{}", d.text(HEX, 32))),
        token("databricks", "databricks-token", format!("dapi{}", d.text(HEX, 32))),
        token("terraform", "terraform-cloud-token", format!("{}.atlasv1.{}", d.text(ALNUM, 14), d.text(ALNUM, 67))),
        token("docker hub", "docker-hub-token", format!("dckr_pat_{}", d.text(url, 27))),
        token("jwt", "jwt", format!("eyJhbGciOiJIUzI1NiJ9.eyJ{}.{}", d.text(ALNUM, 40), d.text(url, 43))),
        token("linear", "linear-key", format!("lin_api_{}", d.text(ALNUM, 40))),
        token("grafana", "grafana-token", format!("glsa_{}_{}", d.text(ALNUM, 32), d.text(HEX, 8))),
    ]
}

/// Six digits, most significant first.
fn base62(mut sum: u32) -> String {
    let mut digits = [b'0'; 6];
    for digit in digits.iter_mut().rev() {
        *digit = ALNUM.as_bytes()[sum as usize % 62];
        sum /= 62;
    }
    digits.map(char::from).iter().collect()
}

//! Signed URLs: an object store puts the name of a key, its conditions and a signature into the query, which lets whoever has the URL fetch one
//! object for some time. None of it is the key.
//!
//! Exempt is the one rule for the format, for the one parameter, and only beside its companions. Every other rule, every decoder and the
//! bottle's own fingerprints still read the value: a JWT's payload is decoded and scanned as any other base64.

use std::sync::LazyLock;

use bottle_scan::Exempt;
use http::Uri;
use percent_encoding::percent_decode_str;

/// Hosts, each with the parameter that holds a JWT.
static JWT_HOSTS: LazyLock<Vec<(&str, &str)>> = LazyLock::new(|| {
    let lines = include_str!("signed_url_hosts.txt").lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.split_once(' ')).collect()
});

/// The parameter of Signature Version 4 that begins with the id of a key.
pub const CREDENTIAL: &str = "X-Amz-Credential";

fn pairs(query: &str) -> impl Iterator<Item = (&str, &str)> {
    query.split('&').filter_map(|pair| pair.split_once('='))
}

fn has(query: &str, wanted: &str) -> bool {
    pairs(query).any(|(name, value)| name == wanted && !value.is_empty())
}

/// The id of a key that this value of [`CREDENTIAL`] begins with; it ends at a slash, which may be written as `%2F`.
fn id(value: &str) -> Option<&str> {
    let id = value.split(['/', '%']).next()?;
    let is_id = id.len() == 20 && id.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
    is_id.then_some(id)
}

/// Of a value of a query, what is no exempt id.
pub fn behind_id<'v>(query: &str, name: &str, value: &'v str) -> &'v str {
    match id(value).filter(|_| name == CREDENTIAL && is_signed(query)) {
        Some(id) => &value[id.len()..],
        None => value,
    }
}

/// True beside the companions of [`CREDENTIAL`].
fn is_signed(query: &str) -> bool {
    has(query, "X-Amz-Algorithm") && has(query, "X-Amz-Signature")
}

/// What the query of this target is exempt from.
pub(crate) fn exemptions(uri: &Uri) -> Vec<Exempt> {
    let Some(query) = uri.query() else { return Vec::new() };
    let mut exempt = Vec::new();
    if is_signed(query) {
        let ids = pairs(query).filter(|(name, _)| *name == CREDENTIAL).filter_map(|(_, value)| id(value));
        exempt.extend(ids.map(|id| Exempt { rule: "aws-access-key-id".to_owned(), within: id.as_bytes().to_vec() }));
    }
    // The rule takes all of a shared access signature, from its version on, for the value.
    if ["sv", "se", "sig"].into_iter().all(|name| has(query, name)) {
        let forms =
            [query.as_bytes().to_vec(), percent_decode_str(query).collect(), percent_decode_str(&query.replace('+', " ")).collect()];
        exempt.extend(forms.map(|within| Exempt { rule: "azure-sas".to_owned(), within }));
    }
    let host = uri.host().unwrap_or_default();
    for (_, parameter) in JWT_HOSTS.iter().filter(|(known, _)| host.eq_ignore_ascii_case(known)) {
        let values = pairs(query).filter(|(name, _)| name == parameter);
        exempt.extend(values.map(|(_, value)| Exempt { rule: "jwt".to_owned(), within: value.as_bytes().to_vec() }));
    }
    exempt
}

#[cfg(test)]
mod tests {
    use bottle_scan::{Fingerprints, Scanner};
    use http::{HeaderMap, Method};

    use crate::head;

    const KEY: &str = "AKIAQ7XW2MVB5ZT4RK6L";
    const SIG: &str = "sig=q7Xw2mVb9Zt4Rk8LpHs0Nc5Jy3Gd6Fa1Qe7XwB2mVb9%3D";
    /// A bottle's own secret, in the shape of a key's id.
    const OWN: &str = "AKIAOWNW2MVB5ZT4RK6Q";

    fn rule(uri: &str) -> Option<String> {
        let scanner = Scanner::new(Fingerprints::of([7; 32], &[OWN.as_bytes()])).unwrap();
        head::scan(&scanner, &Method::GET, &uri.parse().unwrap(), &HeaderMap::new(), None).err().map(|leak| leak.rule)
    }

    /// With a header that says `alg`, and this payload.
    fn jwt(payload: &str) -> String {
        let digits = |text: &str| {
            const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
            let bits = text.bytes().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1)).collect::<Vec<_>>();
            bits.chunks(6)
                .map(|six| char::from(ALPHABET[six.iter().fold(0, |value, bit| value << 1 | usize::from(*bit)) << (6 - six.len())]))
                .collect::<String>()
        };
        format!("{}.{}.q7Xw2mVb9Zt4Rk8LpHs0Nc5Jy3Gd6Fa1Qe7XwB2mVb9", digits(r#"{"typ":"JWT","alg":"HS256"}"#), digits(payload))
    }

    fn amz(credential: &str) -> String {
        format!(
            "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={credential}%2F20260101%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20260101T000000Z\
             &X-Amz-Expires=300&X-Amz-Signature=fe5f80f77d5fa3beca038a248ff027d0445342fe2855ddc963176630326f1024"
        )
    }

    // covers: V03 V13 A03
    #[test]
    fn a_signed_url_leaves_as_its_origin_wrote_it() {
        let sas = format!("sp=r&sv=2018-11-09&sr=b&se=2027-01-01T00%3A00%3A00Z&{SIG}");
        let token = jwt(r#"{"iss":"github.com","exp":1}"#);
        for uri in [
            format!("https://bucket.s3.test/o?{}", amz(KEY)),
            format!("https://bucket.s3.test/o?x=1&{}", amz(&KEY.replacen("AKIA", "ASIA", 1))),
            format!("https://account.blob.test/c/o?{sas}"),
            format!("https://release-assets.githubusercontent.com/o?{sas}&jwt={token}"),
        ] {
            assert_eq!(rule(&uri), None, "{uri}");
        }
    }

    // covers: V03 A03
    #[test]
    fn a_parameter_excuses_nothing_without_its_companions_elsewhere_or_of_another_kind() {
        let token = jwt(r#"{"iss":"github.com","exp":1}"#);
        let leaking = jwt(&format!(r#"{{"iss":"github.com","key":"{KEY}"}}"#));
        let github = "https://release-assets.githubusercontent.com";
        for (expected, uri) in [
            ("aws-access-key-id", format!("https://s3.test/o?X-Amz-Credential={KEY}%2F20260101")),
            ("aws-access-key-id", format!("https://s3.test/o?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={KEY}%2F20260101")),
            ("aws-access-key-id", format!("https://s3.test/o?{}&other={}", amz(KEY), KEY.replace('Q', "R"))),
            ("aws-access-key-id", format!("https://s3.test/{}/o?{}", KEY.replace('Q', "R"), amz(KEY))),
            ("aws-access-key-id", format!("https://s3.test/o?{}", amz("x").replace("X-Amz-Date=", &format!("X-Amz-Date={KEY}")))),
            ("bottle-secret", format!("https://s3.test/o?{}", amz(OWN))),
            ("azure-sas", format!("https://blob.test/o?sv=2018-11-09&sr=b&{SIG}")),
            ("azure-sas", format!("https://blob.test/o/sv=2018-11-09&sr=b&se=1&{SIG}")),
            ("github-pat", format!("https://blob.test/o?sv=2018-11-09&se=2027&{SIG}&t=ghp_wWPw5k4aXcaT4fNP0UcnZwJUVFk6LO2fi0lF")),
            ("jwt", format!("https://elsewhere.test/o?jwt={token}")),
            ("jwt", format!("{github}/o?other={token}")),
            ("jwt", format!("{github}/o/{token}")),
            ("aws-access-key-id", format!("{github}/o?jwt={leaking}")),
        ] {
            let found = rule(&uri);
            assert!(found.as_deref() == Some(expected) || expected == "github-pat" && found.is_some(), "{uri}: {found:?}");
        }
    }
}

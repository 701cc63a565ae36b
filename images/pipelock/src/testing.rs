//! What several unit tests need.

use bottle_contract::pipelock::{BodyScanning, Dlp, Extension, FetchProxy, Limits, PipelockConfig, Ssrf, Switch, TlsInterception};

/// A configuration that lists `hosts` and is otherwise as the supervisor writes it.
pub(crate) fn config(hosts: &[&str]) -> PipelockConfig {
    PipelockConfig {
        version: 1,
        mode: "strict".into(),
        enforce: true,
        api_allowlist: hosts.iter().map(|host| host.parse().unwrap()).collect(),
        forward_proxy: Switch { enabled: true },
        fetch_proxy: FetchProxy { listen: "0.0.0.0:8888".into() },
        tls_interception: TlsInterception { enabled: false, ca_cert: String::new(), ca_key: String::new() },
        request_body_scanning: BodyScanning { enabled: true, action: "block".into() },
        response_scanning: Switch { enabled: false },
        dlp: Dlp { include_defaults: true },
        ssrf: Ssrf { ip_allowlist: Vec::new() },
        sentry: Switch { enabled: false },
        x_bottle: Extension {
            bottle: "test".into(),
            generation: 1,
            ports: Vec::new(),
            connect: Vec::new(),
            trust: Vec::new(),
            tunnels: Vec::new(),
            parent: None,
            fingerprints: serde_json::Value::Null,
            limits: Limits::default(),
        },
    }
}

/// A bottle's own secret, of no vendor's shape.
pub(crate) const SECRET: &str = "canary-7Qm2xV9tLw4Rz8Kp1Ns6Yb3Hd5Fg0Jc";

/// A scanner that knows [`SECRET`].
pub(crate) fn scanner() -> bottle_scan::Scanner {
    bottle_scan::Scanner::new(bottle_scan::Fingerprints::of([7; 32], &[SECRET.as_bytes()])).unwrap()
}
